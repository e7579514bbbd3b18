//! Amounts of chips, exact to four decimals.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};

/// Ten-thousandths of a chip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Chips(i64);

const UNIT: i64 = 10_000;
/// Largest amount, in chips: eight of them add up far below the limit of the type.
const MAX: i64 = 1_000_000_000_000;

impl Chips {
    pub const ZERO: Chips = Chips(0);

    /// Digits with an optional fraction.
    pub fn parse(text: &str) -> Option<Chips> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) {
            return None;
        }
        let fraction: String = fraction.chars().chain("0000".chars()).take(4).collect();
        let whole: i64 = whole.parse().ok().filter(|&w| w <= MAX)?;
        Some(Chips(whole * UNIT + fraction.parse::<i64>().ok()?))
    }

    /// A number of TOML, not below zero.
    pub fn from_toml(value: &toml::Value) -> Option<Chips> {
        let negative = value.as_integer().is_some_and(|n| n < 0) || value.as_float().is_some_and(|n| n < 0.0);
        Chips::from_signed(value).filter(|_| !negative)
    }

    /// A number of TOML by its size: a negative blind is one posted by a player who comes back.
    pub fn from_signed(value: &toml::Value) -> Option<Chips> {
        match value {
            toml::Value::Integer(n) => {
                i64::try_from(n.unsigned_abs()).ok().filter(|&n| n <= MAX).map(|n| Chips(n * UNIT))
            }
            toml::Value::Float(f) if f.is_finite() && f.abs() <= MAX as f64 => {
                Some(Chips((f.abs() * UNIT as f64).round() as i64))
            }
            _ => None,
        }
    }

    pub fn value(self) -> f64 {
        self.0 as f64 / UNIT as f64
    }

    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// `self − other`, not below zero.
    pub fn less(self, other: Chips) -> Chips {
        Chips((self.0 - other.0).max(0))
    }

    /// Equal shares in whole chips (whole hundredths when it is not whole itself) and what is left over.
    pub fn split(self, parts: usize) -> (Chips, Chips) {
        let unit = if self.0 % UNIT == 0 { UNIT } else { UNIT / 100 };
        let parts = i64::try_from(parts.max(1)).unwrap_or(1);
        let share = self.0 / unit / parts * unit;
        (Chips(share), Chips(self.0 - share * parts))
    }
}

impl Add for Chips {
    type Output = Chips;
    fn add(self, other: Chips) -> Chips {
        Chips(self.0 + other.0)
    }
}

impl Sub for Chips {
    type Output = Chips;
    fn sub(self, other: Chips) -> Chips {
        Chips(self.0 - other.0)
    }
}

impl AddAssign for Chips {
    fn add_assign(&mut self, other: Chips) {
        self.0 += other.0;
    }
}

impl SubAssign for Chips {
    fn sub_assign(&mut self, other: Chips) {
        self.0 -= other.0;
    }
}

impl Sum for Chips {
    fn sum<I: Iterator<Item = Chips>>(amounts: I) -> Chips {
        amounts.fold(Chips::ZERO, Add::add)
    }
}

impl fmt::Display for Chips {
    /// `2,800` or `0.25`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = ((self.0 / UNIT).to_string(), self.0 % UNIT);
        for (index, digit) in whole.chars().enumerate() {
            if index > 0 && (whole.len() - index).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        match fraction {
            0 => Ok(()),
            n if n % 100 == 0 => write!(f, ".{:02}", n / 100),
            n => write!(f, ".{n:04}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_and_print_exactly() {
        let show = |text: &str| Chips::parse(text).map(|c| c.to_string());
        assert_eq!(show("1259450.25"), Some("1,259,450.25".into()));
        assert_eq!(show("100"), Some("100".into()));
        assert_eq!(show("0.0001"), Some("0.0001".into()));
        assert_eq!(show("-1"), None);
        assert_eq!(show("9999999999999999999"), None);
        assert_eq!(Chips::parse("7").map(|c| c.split(2)), Chips::parse("3").zip(Chips::parse("1")));
    }
}
