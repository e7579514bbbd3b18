//! FFmpeg's log lines into `tracing`, without secrets.
//!
//! FFmpeg prints addresses with the stream key in them, and servers may repeat a key in their error words; LiveKit's server
//! repeats a whole join token when it refuses one. Every line passes [`scrub`], which works in three ways: it replaces the
//! secrets that it knows (those of the settings by [`register_secret`], those of callers while a [`Hidden`] lives), it
//! replaces whatever looks like a token (JWT) or the secret half of an API key, and it cuts everything after host and
//! application from whatever looks like an RTMP address.

mod known;

use ffmpeg_next::ffi;
use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

pub use known::{Hidden, hide};

use known::PLACEHOLDER;

const TOKEN_PLACEHOLDER: &str = "[token]";
/// Every JWT begins so: base64url of `{"`.
const TOKEN_START: &str = "eyJ";
/// Bytes a log line may have; longer ones lose their tail, and a little more in case that cut a secret in two.
const LONGEST_LINE: usize = 4_096;
const LONGEST_SECRET: usize = 1_024;

/// For secrets of the settings: from now on this text is replaced in every line. Stays for the life of the process; what
/// callers choose is for [`hide`].
pub fn register_secret(text: &str) {
    known::register(text);
}

/// The text without known secrets, without tokens (JWT), without the secret half of API keys and without what follows host
/// and application in RTMP addresses.
#[must_use]
pub fn scrub(text: &str) -> String {
    cut_addresses(&cut_api_keys(&cut_tokens(&known::cut(text))))
}

/// Replaces the secret half of `key_<32 hex>.<64 hex>` and its beginnings; the id is no secret.
fn cut_api_keys(text: &str) -> Cow<'_, str> {
    const START: &str = "key_";
    const ID: usize = 32;
    let hex = |at: usize| text[at..].bytes().take_while(u8::is_ascii_hexdigit).count();
    let (mut out, mut done, mut from) = (String::new(), 0, 0);
    while let Some(found) = text[from..].find(START) {
        let id = from + found + START.len();
        from = id;
        if hex(id) != ID || !text[id + ID..].starts_with('.') {
            continue;
        }
        let secret = id + ID + 1;
        let length = hex(secret);
        if length > 0 {
            out.push_str(&text[done..secret]);
            out.push_str(PLACEHOLDER);
            (done, from) = (secret + length, secret + length);
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

/// Replaces `eyJ….….…` and its beginnings: a line may have been cut short inside a token.
fn cut_tokens(text: &str) -> Cow<'_, str> {
    let (mut out, mut done) = (String::new(), 0);
    let mut from = 0;
    while let Some(found) = text[from..].find(TOKEN_START) {
        let start = from + found;
        let part = |at: usize| {
            text[at..].bytes().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'=')).count()
        };
        let header = start + part(start);
        if !text[header..].starts_with('.') || part(header + 1) == 0 {
            // Some other word.
            from = header;
            continue;
        }
        let mut end = header + 1 + part(header + 1);
        if text[end..].starts_with('.') && part(end + 1) > 0 {
            end += 1 + part(end + 1);
        }
        out.push_str(&text[done..start]);
        out.push_str(TOKEN_PLACEHOLDER);
        (done, from) = (end, end);
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

/// Cuts `rtmp…://user:password@host/app/rest` down to `rtmp…://host/app/[key]`.
fn cut_addresses(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let (mut out, mut done) = (String::with_capacity(text.len()), 0);
    while let Some(found) = lower[done..].find("rtmp") {
        let scheme = done + found;
        let letters = lower[scheme..].bytes().take_while(u8::is_ascii_alphanumeric).count();
        let start = scheme + letters;
        if !lower[start..].starts_with("://") {
            out.push_str(&text[done..start]);
            done = start;
            continue;
        }
        let start = start + 3;
        let end = text[start..].find(char::is_whitespace).map_or(text.len(), |n| start + n);
        out.push_str(&text[done..start]);
        let (authority, path) = match text[start..end].split_once('/') {
            Some((authority, path)) => (authority, Some(path)),
            None => (&text[start..end], None),
        };
        out.push_str(authority.rsplit_once('@').map_or(authority, |(_, host)| host));
        if let Some(path) = path {
            out.push('/');
            let app = path.find(['/', '?', '#']).unwrap_or(path.len());
            out.push_str(&path[..app]);
            if app < path.len() {
                out.push('/');
                out.push_str(PLACEHOLDER);
            }
        }
        done = end;
    }
    out.push_str(&text[done..]);
    out
}

/// How far FFmpeg got with a connection, read off its debug lines: an error code alone does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    #[default]
    Resolving,
    /// An address is known, TCP under way.
    Connecting,
    /// TCP stands; RTMPS: TLS under way.
    Connected,
    /// The RTMP handshake under way.
    Handshake,
    /// `connect` and what follows it under way.
    Command,
    /// `publish` was sent.
    Publish,
}

/// What FFmpeg said on this thread while a capture ran. Scrubbed.
#[derive(Clone, Debug, Default)]
pub(super) struct Captured {
    pub stage: Stage,
    /// Error lines, at most [`MOST_LINES`].
    pub lines: Vec<String>,
}

const MOST_LINES: usize = 16;

thread_local! {
    static CAPTURE: RefCell<Option<Captured>> = const { RefCell::new(None) };
}

/// Begins to collect on this thread; what was collected before is dropped.
pub(super) fn begin_capture() {
    CAPTURE.with_borrow_mut(|c| *c = Some(Captured::default()));
}

/// What was collected so far; collecting goes on.
pub(super) fn captured() -> Captured {
    CAPTURE.with_borrow(Clone::clone).unwrap_or_default()
}

/// Routes FFmpeg's log into `tracing` (target `ffmpeg`), for the whole process. Later calls do nothing.
pub fn install() {
    static ONCE: Once = Once::new();
    // SAFETY: the callback has the signature that libavutil calls, keeps no pointer and never unwinds.
    ONCE.call_once(|| unsafe { ffi::av_log_set_callback(Some(on_line)) });
}

/// libavutil's callback. Generic over `va_list`, whose type differs between platforms; the compiler infers it from
/// `av_log_set_callback`.
unsafe extern "C" fn on_line<V>(class: *mut c_void, level: c_int, format: *const c_char, args: V) {
    let level = level & 0xff;
    // FFmpeg calls for every level; formatting a debug line for each packet would cost more than sending it.
    if format.is_null() || level > ffi::AV_LOG_DEBUG {
        return;
    }
    // A panic in a subscriber must not unwind into C.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: libavutil passes a NUL-terminated format.
        let format_text = unsafe { CStr::from_ptr(format) }.to_bytes();
        note_stage(format_text);
        let capturing = level <= ffi::AV_LOG_ERROR && CAPTURE.try_with(|c| c.borrow().is_some()).unwrap_or(false);
        let wanted = match level {
            _ if level <= ffi::AV_LOG_ERROR => tracing::enabled!(target: "ffmpeg", tracing::Level::WARN),
            _ if level <= ffi::AV_LOG_WARNING => tracing::enabled!(target: "ffmpeg", tracing::Level::DEBUG),
            _ if level <= ffi::AV_LOG_VERBOSE => tracing::enabled!(target: "ffmpeg", tracing::Level::TRACE),
            _ => false,
        };
        if !capturing && !wanted {
            return;
        }
        // SAFETY: class, level, format and args are passed on as they came.
        let line = unsafe { format_line(class, level, format, args) };
        let line = line.trim_end();
        if line.is_empty() {
            return;
        }
        if capturing {
            // The destination reports the error in its own words; here it is only a detail.
            tracing::debug!(target: "ffmpeg", "{line}");
            let _ = CAPTURE.try_with(|c| {
                if let Ok(mut c) = c.try_borrow_mut()
                    && let Some(c) = c.as_mut()
                {
                    if c.lines.len() == MOST_LINES {
                        c.lines.remove(0);
                    }
                    c.lines.push(line.to_owned());
                }
            });
        } else if level <= ffi::AV_LOG_ERROR {
            tracing::warn!(target: "ffmpeg", "{line}");
        } else if level <= ffi::AV_LOG_WARNING {
            tracing::debug!(target: "ffmpeg", "{line}");
        } else {
            tracing::trace!(target: "ffmpeg", "{line}");
        }
    }));
}

/// Formats and scrubs one line.
///
/// # Safety
/// The arguments are those of the callback, and `args` is not used again.
unsafe fn format_line<V>(class: *mut c_void, level: c_int, format: *const c_char, args: V) -> String {
    type Formatter<V> =
        unsafe extern "C" fn(*mut c_void, c_int, *const c_char, V, *mut c_char, c_int, *mut c_int) -> c_int;
    // SAFETY: V is the platform's va_list (see on_line), so this only restores the function's own type.
    let format_line2: Formatter<V> = unsafe { std::mem::transmute(ffi::av_log_format_line2 as *const ()) };
    let mut buffer = vec![0u8; LONGEST_LINE];
    let mut prefix = 1;
    // SAFETY: the buffer is as long as told and stays NUL-terminated.
    let length = unsafe {
        format_line2(class, level, format, args, buffer.as_mut_ptr().cast(), LONGEST_LINE as c_int, &mut prefix)
    };
    let Ok(length) = usize::try_from(length) else { return String::new() };
    if length < LONGEST_LINE {
        return scrub(&String::from_utf8_lossy(&buffer[..length]));
    }
    let line = String::from_utf8_lossy(&buffer[..LONGEST_LINE - LONGEST_SECRET]).into_owned();
    scrub(&line[..line.rfind(char::is_whitespace).unwrap_or(0)]) + " …"
}

fn note_stage(format: &[u8]) {
    let stage = match format {
        f if f.starts_with(b"Starting connection attempt") => Stage::Connecting,
        f if f.starts_with(b"Successfully connected to") => Stage::Connected,
        f if f.starts_with(b"Handshaking...") => Stage::Handshake,
        f if f.starts_with(b"Proto = ") => Stage::Command,
        f if f.starts_with(b"Sending publish command") => Stage::Publish,
        _ => return,
    };
    let _ = CAPTURE.try_with(|c| {
        if let Ok(mut c) = c.try_borrow_mut()
            && let Some(c) = c.as_mut()
        {
            c.stage = c.stage.max(stage);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_secrets_are_replaced_wherever_they_stand() {
        register_secret("scrub-canary-1");
        register_secret("scrub-canary-1?test=true");
        assert_eq!(scrub("publish scrub-canary-1?test=true failed"), "publish [key] failed");
        assert_eq!(scrub("xscrub-canary-1x"), "x[key]x");
    }

    #[test]
    fn addresses_lose_all_after_the_application_even_when_the_key_is_unknown() {
        assert_eq!(scrub("rtmp://h:1935/app/never-told: I/O error"), "rtmp://h:1935/app/[key] I/O error");
        assert_eq!(
            scrub("a RTMPS://u:pw@h/app?x=1/key b rtmp://h2/live c"),
            "a RTMPS://h/app/[key] b rtmp://h2/live c"
        );
        assert_eq!(scrub("[rtmp @ 0x1] rtmpe://h/a/b"), "[rtmp @ 0x1] rtmpe://h/a/[key]");
        assert_eq!(scrub("rtmp"), "rtmp");
        assert_eq!(scrub("ünïcode rtmp://hö/ä/ß ü"), "ünïcode rtmp://hö/ä/[key] ü");
    }

    #[test]
    fn whatever_looks_like_a_token_is_replaced_also_when_the_line_ends_in_it() {
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJkZXZrZXkifQ.ImrE0eUdU-W_mdIY";
        assert_eq!(scrub(&format!("invalid token: {token}, error: expired")), "invalid token: [token], error: expired");
        assert_eq!(
            scrub(&format!("ws://h/rtc?access_token={token}&sdk=rust {token}.")),
            "ws://h/rtc?access_token=[token]&sdk=rust [token]."
        );
        assert_eq!(scrub(&token[..token.len() - 20]), "[token]", "cut in its second part");
        assert_eq!(scrub(&token[..token.len() - 10]), "[token]", "cut in its third part");
        assert_eq!(scrub("ünï eyJ eyJa. eyJb é"), "ünï eyJ eyJa. eyJb é");
    }

    #[test]
    fn an_api_key_loses_its_secret_half_also_when_the_line_ends_in_it() {
        let (id, secret) = ("key_0123456789abcdef0123456789abcdef", "5a".repeat(32));
        assert_eq!(scrub(&format!("Bearer {id}.{secret}, {id}.{secret}")), format!("Bearer {id}.[key], {id}.[key]"));
        assert_eq!(scrub(&format!("{id}.{}", &secret[..9])), format!("{id}.[key]"));
        let harmless = format!("{id} {id}. key_12.ab ünï key_");
        assert_eq!(scrub(&harmless), harmless);
    }

    #[test]
    fn a_line_of_ffmpeg_arrives_scrubbed_and_marks_the_stage() {
        register_secret("capture-canary-2");
        install();
        begin_capture();
        let say = |level, format: &CStr, argument: &CStr| {
            // SAFETY: both formats below take one string.
            unsafe { ffi::av_log(std::ptr::null_mut(), level, format.as_ptr(), argument.as_ptr()) }
        };
        say(ffi::AV_LOG_DEBUG, c"Sending publish command for '%s'\n", c"capture-canary-2");
        say(ffi::AV_LOG_ERROR, c"Server error: no %s here\n", c"capture-canary-2");
        let captured = captured();
        assert_eq!(captured.stage, Stage::Publish);
        assert_eq!(captured.lines, ["Server error: no [key] here"]);
    }

    #[test]
    fn a_line_too_long_to_keep_does_not_leak_the_head_of_a_secret() {
        let secret = "long-line-canary-".repeat(8);
        register_secret(&secret);
        install();
        begin_capture();
        let text = std::ffi::CString::new(format!("{} {secret}", "x".repeat(LONGEST_LINE - 40))).unwrap();
        // SAFETY: the format takes one string.
        unsafe { ffi::av_log(std::ptr::null_mut(), ffi::AV_LOG_ERROR, c"a %s\n".as_ptr(), text.as_ptr()) };
        assert!(captured().lines.iter().all(|l| !l.contains("canary")));
    }
}
