//! One broadcast: its threads, its clock, its life and death.
