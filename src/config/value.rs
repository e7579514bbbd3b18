//! Values of settings as text. Errors say what is expected and never repeat the text: it may hold a password.

use std::net::IpAddr;
use std::time::Duration;

pub fn flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => Ok(true),
        "false" | "0" | "off" | "no" => Ok(false),
        _ => Err("expected true or false".into()),
    }
}

pub fn number<T>(text: &str, least: T, most: T) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    // `parse` takes a plus sign, and the underscores of TOML are gone by now.
    let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number = text.parse::<T>().ok().filter(|number| digits && (&least..=&most).contains(&number));
    number.ok_or_else(|| format!("expected a number from {least} to {most}"))
}

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// `500ms`, `45s`, `2m`, `24h`, `30d`.
pub fn duration(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let words =
        || format!("expected a time from {} to {}, with ms, s, m, h or d", show_duration(least), show_duration(most));
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(words)?;
    let number = text[..text.len() - unit.len()].parse::<u64>().map_err(|_| words())?;
    let time = number.checked_mul(*factor).map(Duration::from_millis).ok_or_else(words)?;
    if (least..=most).contains(&time) { Ok(time) } else { Err(words()) }
}

pub fn show_duration(time: Duration) -> String {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (unit, factor) =
        UNITS.iter().rev().find(|(_, factor)| ms > 0 && ms.is_multiple_of(*factor)).unwrap_or(&("s", 1_000));
    format!("{}{unit}", ms / factor)
}

const SIZES: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// `512MiB`, `4GiB`.
pub fn bytes(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let words =
        || format!("expected a size from {} to {}, with B, KiB, MiB, GiB or TiB", show_bytes(least), show_bytes(most));
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let (_, factor) = SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(words)?;
    let number = text[..text.len() - unit.len()].parse::<u64>().map_err(|_| words())?;
    number.checked_mul(*factor).filter(|size| (least..=most).contains(size)).ok_or_else(words)
}

pub fn show_bytes(size: u64) -> String {
    let (unit, factor) =
        SIZES.iter().rev().find(|(_, factor)| size > 0 && size.is_multiple_of(*factor)).unwrap_or(&("B", 1));
    format!("{}{unit}", size / factor)
}

/// Items between commas, without blanks and empty ones.
pub fn list<T>(text: &str, item: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(item).collect()
}

pub fn choice<'a>(text: &str, words: &[&'a str]) -> Result<&'a str, String> {
    let found = words.iter().find(|word| **word == text);
    found.copied().ok_or_else(|| format!("expected one of {}", words.join(", ")))
}

/// `https://cast.example.com[:port]` in lower case, without anything after it.
pub fn origin(text: &str) -> Result<String, String> {
    let words = "expected http:// or https:// and a host, without user, path or query";
    base(text, &["http", "https"]).ok_or_else(|| words.into())
}

/// A LiveKit server: `wss://live.example.com[:port]`.
pub fn server(text: &str) -> Result<String, String> {
    let words = "expected ws://, wss://, http:// or https:// and a host, without user, path or query";
    base(text, &["ws", "wss", "http", "https"]).ok_or_else(|| words.into())
}

fn base(text: &str, schemes: &[&str]) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let authority = rest.strip_suffix('/').unwrap_or(rest).to_ascii_lowercase();
    let good = schemes.contains(&scheme.as_str()) && is_authority(&authority);
    good.then(|| format!("{scheme}://{authority}"))
}

fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if !address.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) {
                return false;
            }
            ("v6", if rest.is_empty() { None } else { Some(rest.strip_prefix(':').unwrap_or_default()) })
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let digits =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    is_host(host) && port.is_none_or(digits)
}

fn is_host(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !text.is_empty() && text.len() <= 253 && text.bytes().all(plain) && !text.starts_with('.')
}

/// A source of `frame-ancestors` (CSP level 3, section 2.3.1): an origin, one with `*.` before its host, or `'self'`.
pub fn ancestor(text: &str) -> Result<String, String> {
    let words = "expected 'self' or origins like https://game.example.com or https://*.example.com";
    if matches!(text, "'self'" | "self") {
        return Ok("'self'".into());
    }
    let plain = text.replacen("://*.", "://", 1);
    let checked = origin(&plain).map_err(|_| words.to_owned())?;
    Ok(if plain.len() == text.len() { checked } else { checked.replacen("://", "://*.", 1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_need_a_unit_and_keep_their_bounds() {
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(86_400));
        for (text, ms, shown) in
            [("45s", 45_000, "45s"), ("1500ms", 1_500, "1500ms"), ("90m", 5_400_000, "90m"), ("1d", 86_400_000, "1d")]
        {
            let time = duration(text, least, most).unwrap();
            assert_eq!((time, &*show_duration(time)), (Duration::from_millis(ms), shown));
        }
        for text in
            ["", "45", "s", "0s", "2d", "-1s", "+3s", "1.5h", "3 s", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(duration(text, least, most).unwrap_err().contains("from 1s to 1d"), "{text}");
        }
        assert_eq!(show_duration(Duration::ZERO), "0s");
        assert_eq!((bytes("4GiB", 1, u64::MAX), &*show_bytes(4 << 30)), (Ok(4 << 30), "4GiB"));
        for text in ["", "4", "4GB", "-4GiB", "18446744073709551615TiB"] {
            assert!(bytes(text, 1, 1 << 40).is_err(), "{text}");
        }
    }

    #[test]
    fn an_origin_has_a_host_and_nothing_else() {
        assert_eq!(origin("HTTPS://Cast.Example.com:8443/").unwrap(), "https://cast.example.com:8443");
        assert_eq!(origin("http://[::1]:80").unwrap(), "http://[::1]:80");
        for text in [
            "",
            "cast.example.com",
            "ftp://h",
            "https://",
            "https://u:p@h",
            "https://h/p",
            "https://h?q",
            "https://h:0",
            "https://[::1",
            "https://h; x",
        ] {
            assert!(origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_frame_ancestor_cannot_smuggle_another_directive() {
        assert_eq!(ancestor("self").unwrap(), "'self'");
        assert_eq!(ancestor("https://*.Example.com").unwrap(), "https://*.example.com");
        for text in ["*", "https://*", "https://a.b; script-src *", "'none' *", "https://*.*.b"] {
            assert!(ancestor(text).is_err(), "{text}");
        }
    }
}
