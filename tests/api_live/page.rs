//! The overlay page in a real Chromium, which is asked through its DevTools.

use crate::house::{House, PATIENCE, Session};
use crate::support::browser::Browser;
use crate::support::dir::TempDir;
use crate::support::http::request;
use crate::support::program::wait_until;
use crate::support::service::Sender;
use serde_json::{Value, json};
use std::io::Read;
use std::net::TcpStream;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

/// A page and the connection that asks it.
struct Page {
    tools: WebSocket<TcpStream>,
    asked: u64,
    _browser: Browser,
    _profile: TempDir,
}

impl Page {
    fn open(url: &str) -> Page {
        let profile = TempDir::new("overlay");
        let browser = Browser::open(url, &profile);
        let port = wait_until("Chromium's DevTools", PATIENCE * 2, || {
            let text = std::fs::read_to_string(profile.path().join("DevToolsActivePort")).ok()?;
            text.lines().next()?.parse::<u16>().ok()
        });
        let address = format!("127.0.0.1:{port}");
        let target = wait_until("the page", PATIENCE, || {
            // Chromium keeps the connection open whatever it is asked.
            let (mut stream, head) = request(&address, "/json/list", &[]);
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length:")?.trim().parse().ok())?;
            let mut body = vec![0; length];
            stream.read_exact(&mut body).ok()?;
            let list: Value = serde_json::from_slice(&body).ok()?;
            let page = list.as_array()?.iter().find(|t| t["type"] == "page")?;
            page["webSocketDebuggerUrl"].as_str().map(str::to_owned)
        });
        let stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (tools, _) = tokio_tungstenite::tungstenite::client::client(target.as_str(), stream).unwrap();
        Page { tools, asked: 0, _browser: browser, _profile: profile }
    }

    fn ask(&mut self, expression: &str) -> Value {
        self.asked += 1;
        let params = json!({ "expression": expression, "returnByValue": true });
        let call = json!({ "id": self.asked, "method": "Runtime.evaluate", "params": params });
        self.tools.send(Message::text(call.to_string())).unwrap();
        loop {
            let Message::Text(text) = self.tools.read().unwrap() else { continue };
            let said: Value = serde_json::from_str(&text).unwrap();
            if said["id"] == self.asked {
                return said["result"]["result"]["value"].clone();
            }
        }
    }

    fn text(&mut self) -> String {
        self.ask("document.body ? document.body.innerText : ''").as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page shows these words.
    #[track_caller]
    fn shows(&mut self, words: &[&str]) -> String {
        let mut last = String::new();
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let text = self.text();
            if words.iter().all(|word| text.contains(word)) {
                return text;
            }
            assert!(std::time::Instant::now() < deadline, "waited for {words:?}, the page shows: {last}");
            last = text;
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

fn started(sender: &mut Sender) -> Value {
    sender.event(
        "match.started",
        json!({
            "title": "Agent Open 2026", "round": "Quarter-final 2",
            "sides": {
                "x": { "seat": 0, "name": "<img src=x onerror=alert(1)>", "agent": "model-one", "score": 1,
                       "clock": { "ms": 61_000, "running": false } },
                "o": { "seat": 1, "name": "Big Circle", "author": "somebody", "score": 0, "status": "thinking" },
            },
            "phase": { "turn": 3, "active": ["o"] }, "eval": { "shares": { "x": 0.7, "o": 0.3 }, "text": "+1.3" },
        }),
    )
}

fn push(session: &Session, event: &Value) {
    session.holder.post(&session.path("/events"), event).expect(200);
}

#[test]
fn the_overlay_page_shows_what_is_fed_and_keeps_no_token_in_its_address() {
    let house = House::new();
    let session = house.feeds("m");
    let mut sender = Sender::new("m");
    push(&session, &started(&mut sender));
    // As an older game page opens it: by the old form.
    let mut page = Page::open(&format!(
        "http://{}/stream/overlay?sessionId={}&token={}",
        house.address, session.id, session.token
    ));
    let text =
        page.shows(&["Agent Open 2026", "Big Circle", "Quarter-final 2", "1:01", "<img src=x onerror=alert(1)>"]);
    for words in ["LEADS", "THINKING", "+1.3", "70 %", "@somebody", "Turn 3"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(page.ask("location.href"), format!("http://{}/stream/overlay", house.address));
    assert_eq!(page.ask("history.length > 2"), false, "nothing of the code stays behind");
    assert_eq!(page.ask("document.querySelectorAll('img').length"), 0, "words of strangers are words");
    assert_eq!(page.ask("JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + document.cookie"), "{}{}");
    assert_eq!(page.ask("performance.getEntriesByType('resource').some((e) => /eyJ|code=/.test(e.name))"), false);
    assert_eq!(page.ask("getComputedStyle(document.body).backgroundColor"), "rgba(0, 0, 0, 0)", "see-through");

    let thinking = json!({ "side": "o", "thoughtId": "t1", "delta": "The corner is free" });
    push(&session, &sender.event("agent.thinking", thinking));
    push(&session, &sender.event("feed", json!({ "kind": "move", "text": "Circle takes the corner", "actor": "o" })));
    push(&session, &sender.event("state.patch", json!({ "sides": { "o": { "score": 5 } }, "eval": null })));
    let text = page.shows(&["The corner is free", "Circle takes the corner", "Big Circle leads"]);
    assert!(text.contains('5'), "{text}");
    push(&session, &sender.event("match.ended", json!({ "winners": ["o"], "reason": "three in a row" })));
    page.shows(&["Big Circle wins", "three in a row", "WINNER"]);

    // It fits a phone: nothing is wider than the page.
    assert_eq!(page.ask("document.documentElement.scrollWidth <= innerWidth"), true);
    house.game.delete(&session.path("")).expect(204);
    page.shows(&["The right to watch has ended"]);
}

#[test]
fn a_link_that_was_used_says_so() {
    let house = House::new();
    let session = house.feeds("m");
    let mut first = Page::open(session.made["overlayUrl"].as_str().unwrap());
    first.shows(&["Waiting for the match"]);
    let mut second = Page::open(session.made["overlayUrl"].as_str().unwrap());
    second.shows(&["This link was used already"]);
    // The first one connects again by itself.
    push(&session, &started(&mut Sender::new("m")));
    first.shows(&["Big Circle"]);
}
