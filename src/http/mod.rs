//! The preview page.
