//! Numbers as a broadcast writes them.

use super::presentation::format_clock;

const MINUS: &str = "\u{2212}";
const NO_BREAK: &str = "\u{a0}";

/// In panels: `5,200`, `0.5`, `−1,500`; from ten million on `12.4M`.
pub fn grouped(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    if value.abs() >= 10_000_000.0 {
        return compact(value);
    }
    let sign = if value < 0.0 { MINUS } else { "" };
    let tenths = (value.abs() * 10.0).round();
    let (whole, tenth) = ((tenths / 10.0).floor() as u64, tenths as u64 % 10);
    let digits = whole.to_string();
    let mut out = String::from(sign);
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    if tenth > 0 {
        out.push('.');
        out.push(char::from(b'0' + tenth as u8));
    }
    out
}

/// Where room is short: `999`, `86K`, `1.24M`: three digits, zeros at the end kept only for M.
pub fn compact(value: f64) -> String {
    let abs = value.abs();
    if !abs.is_finite() || abs < 10_000.0 {
        return grouped(value);
    }
    let sign = if value < 0.0 { MINUS } else { "" };
    let three = |v: f64| {
        if v < 9.995 {
            format!("{v:.2}")
        } else if v < 99.95 {
            format!("{v:.1}")
        } else {
            format!("{v:.0}")
        }
    };
    if abs < 999_500.0 {
        let text = three(abs / 1e3);
        let text = text.strip_suffix(".0").unwrap_or(&text);
        format!("{sign}{text}K")
    } else if abs < 999_500_000.0 {
        format!("{sign}{}M", three(abs / 1e6))
    } else {
        format!("{sign}{}B", three((abs / 1e9).min(999.0)))
    }
}

/// Viewers: `9,999`, `12.4K`, `999K`, `1.00M`.
pub fn viewers(n: u64) -> String {
    match n {
        0..10_000 => grouped(n as f64),
        10_000..99_950 => format!("{:.1}K", n as f64 / 1e3),
        99_950..999_500 => format!("{:.0}K", n as f64 / 1e3),
        _ => format!("{:.2}M", n as f64 / 1e6),
    }
}

/// A counter's value with its unit; seconds become minutes and seconds.
pub fn with_unit(value: f64, unit: &str) -> String {
    match unit {
        "s" if (0.0..360_000.0).contains(&value) => format_clock(value.round() as i64),
        "" => grouped(value),
        _ => format!("{}{NO_BREAK}{unit}", grouped(value)),
    }
}

/// A value with its unit where room is short: a short unit stays at the number, a long one goes.
pub fn short(value: f64, unit: &str) -> String {
    match unit {
        "s" => with_unit(value, unit),
        "%" => format!("{}{NO_BREAK}%", compact(value)),
        _ => compact(value),
    }
}

/// A change: `+300`, `−1,500`.
pub fn delta(value: f64) -> String {
    if value > 0.0 { format!("+{}", compact(value)) } else { compact(value) }
}

/// `62 %` of a share from 0 to 1.
pub fn percent(share: f32) -> String {
    format!("{:.0}{NO_BREAK}%", share.clamp(0.0, 1.0) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_the_design_says() {
        assert_eq!(grouped(5200.0), "5,200");
        assert_eq!(grouped(-1500.0), "\u{2212}1,500");
        assert_eq!(grouped(2.5), "2.5");
        assert_eq!(compact(86_000.0), "86K");
        assert_eq!(compact(1_240_000.0), "1.24M");
        assert_eq!(viewers(12_400), "12.4K");
        assert_eq!(viewers(999), "999");
        assert_eq!(viewers(1_000_000), "1.00M");
        assert_eq!(with_unit(41.0, "s"), "0:41");
        assert_eq!(with_unit(91.4, "%"), "91.4\u{a0}%");
        assert_eq!(delta(300.0), "+300");
        assert_eq!(percent(0.62), "62\u{a0}%");
    }
}
