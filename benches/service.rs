//! What the service costs beside its streams, and how quick it is.
//!
//! ```text
//! cargo bench --bench service                   all, about a minute
//! cargo bench --bench service -- --seconds 5    longer; far longer uses up the ports of this host
//! ```
//!
//! `agentcast serve` with SQLite on disk, called over loopback by threads of this program, which share the
//! machine with it. The baseline of requests is nginx answering 204 to the same callers, one connection a request for both, so a
//! ratio holds the service against a server that does nothing. Every acknowledged event is in the log before its answer.

#[allow(dead_code)]
#[path = "../tests/support/certificates.rs"]
mod certificates;
#[allow(dead_code)]
#[path = "../tests/support/dir.rs"]
mod dir;
#[allow(dead_code)]
#[path = "../tests/support/nginx.rs"]
mod nginx;
#[allow(dead_code)]
#[path = "../tests/support/program.rs"]
mod program;
#[allow(dead_code)]
#[path = "../tests/support/service.rs"]
mod service;

use nginx::Nginx;
use serde_json::json;
use service::{Client, Sender, Service, Setup, local_hosts};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const CALLERS: usize = 4;
const AGENTS: usize = 1_000;
const MATCHES: usize = 100;
/// Events of one match a second.
const PACE: u64 = 10;

fn main() {
    let seconds = arguments();
    let nginx = Nginx::start();
    let toml = local_hosts(&nginx)
        + "sessions_per_minute = 100000\nauth_failures_per_minute = 100000\nevents_per_second = 10000\nevents_burst = 10000\n";
    let service = Service::start(Setup { toml, env: vec![("STREAMING_ENABLED".into(), "true".into())] });
    let (tenant, operator) = service.tenant("Arena", "operator");
    let game = service.key(&tenant, "game");
    let pid = service.program().pid();

    idle(pid, &operator, seconds);
    requests(&nginx, &operator, &game, seconds);
    matches(pid, &game, seconds);
    on_air(&nginx, &service.admin, &operator, &game, seconds);
}

fn arguments() -> Duration {
    let mut arguments = std::env::args().skip_while(|word| word != "--seconds").skip(1);
    Duration::from_secs(arguments.next().and_then(|word| word.parse().ok()).unwrap_or(3))
}

/// Processor time so far, s, and resident memory, MiB.
fn usage(pid: u32) -> (f64, f64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<u64> = stat
        .rsplit(')')
        .next()
        .expect("a name")
        .split_whitespace()
        .skip(1)
        .map(|word| word.parse().unwrap_or(0))
        .collect();
    // SAFETY: asks for numbers and touches no memory.
    let (hz, page) = unsafe { (libc::sysconf(libc::_SC_CLK_TCK) as f64, libc::sysconf(libc::_SC_PAGESIZE) as f64) };
    // Fields 14 and 15 (user and system time), 24 (resident pages), counted from 3 here.
    ((fields[10] + fields[11]) as f64 / hz, fields[20] as f64 * page / f64::from(1 << 20))
}

/// Share of a core over this time.
fn share(pid: u32, time: Duration) -> f64 {
    let (began, before) = (Instant::now(), usage(pid).0);
    std::thread::sleep(time);
    (usage(pid).0 - before) / began.elapsed().as_secs_f64()
}

fn idle(pid: u32, operator: &Client, time: Duration) {
    println!("\nIdle                       CPU, % of a core      RSS, MiB");
    let row = |what: &str| println!("{what:26} {:16.2} {:13.1}", 100.0 * share(pid, time), usage(pid).1);
    row("no agent");
    for n in 0..AGENTS {
        let agent = operator.post("/v1/agents", &json!({ "name": format!("Agent {n}") })).expect(201);
        let path = format!("/v1/agents/{}/streaming", agent["id"].as_str().expect("an id"));
        operator.put(&path, &json!({ "enabled": true })).expect(200);
    }
    row("1,000 agents switched on");
}

/// Calls a second of several callers, and the times of a call.
fn load(time: Duration, call: impl Fn(usize) + Sync) -> (f64, Vec<Duration>) {
    let (stop, began) = (AtomicBool::new(false), Instant::now());
    let mut times: Vec<Duration> = std::thread::scope(|threads| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (stop, call) = (&stop, &call);
                threads.spawn(move || {
                    let mut times = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let began = Instant::now();
                        call(caller);
                        times.push(began.elapsed());
                    }
                    times
                })
            })
            .collect();
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        callers.into_iter().flat_map(|caller| caller.join().expect("a caller")).collect()
    });
    times.sort();
    (times.len() as f64 / began.elapsed().as_secs_f64(), times)
}

fn at(times: &[Duration], share: f64) -> f64 {
    times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1_000.0
}

fn requests(nginx: &Nginx, operator: &Client, game: &Client, time: Duration) {
    println!("\nRequests, {CALLERS} callers            a second   against nginx   p50, ms   p99, ms");
    let mut baseline = None;
    let mut row = |what: &str, (rate, times): (f64, Vec<Duration>)| {
        let against = rate / *baseline.get_or_insert(rate);
        println!("{what:32} {rate:10.0} {against:12.2} x {:9.2} {:9.2}", at(&times, 0.5), at(&times, 0.99));
    };
    let plain = Client { address: format!("127.0.0.1:{}", nginx.http_port()), token: String::new() };
    row("nginx, 204", load(time, |_| assert_eq!(plain.get("/guard?name=good-key").status, 204)));
    row("GET /healthz", load(time, |_| assert_eq!(operator.get("/healthz").status, 200)));
    row("GET /v1/whoami", load(time, |_| assert_eq!(operator.get("/v1/whoami").status, 200)));
    row("GET /v1/agents, 50 of them", load(time, |_| assert_eq!(operator.get("/v1/agents").status, 200)));
    let feeds: Vec<_> = (0..CALLERS).map(|n| std::sync::Mutex::new(open(game, &format!("load-{n}")))).collect();
    let feed = |caller: usize| {
        let mut feed = feeds[caller].lock().expect("one caller");
        let event = feed.1.score(1);
        assert_eq!(game.push(&feed.0, &[event]).status, 200);
    };
    row("POST one event, kept on disk", load(time, feed));
}

/// A match that has begun: its session and its sender.
fn open(game: &Client, reference: &str) -> (String, Sender) {
    let made = game.feed_session(reference, json!({}));
    let mut sender = Sender::new(reference);
    let session = made["session"]["id"].as_str().expect("an id").to_owned();
    game.push(&session, &[sender.started()]).expect(200);
    (session, sender)
}

fn matches(pid: u32, game: &Client, time: Duration) {
    println!(
        "\nMatches at {PACE} events/s       CPU, % of a core   RSS, MiB   acknowledged, p50, ms   p99, ms   late calls"
    );
    for count in [1, MATCHES] {
        let feeds: Vec<_> = (0..count).map(|n| open(game, &format!("paced-{count}-{n}"))).collect();
        let (began, before) = (Instant::now(), usage(pid).0);
        let late = AtomicU64::new(0);
        // Some threads share the matches: each of them calls in turn, at its own time.
        let callers = count.min(8);
        let mut shares: Vec<Vec<(String, Sender)>> = (0..callers).map(|_| Vec::new()).collect();
        feeds.into_iter().enumerate().for_each(|(n, feed)| shares[n % callers].push(feed));
        let mut times: Vec<Duration> = std::thread::scope(|threads| {
            let callers: Vec<_> = shares
                .into_iter()
                .map(|mut feeds| {
                    let late = &late;
                    threads.spawn(move || {
                        let (mut times, step) =
                            (Vec::new(), Duration::from_secs_f64(1.0 / (PACE * feeds.len() as u64) as f64));
                        let mut due = began;
                        while began.elapsed() < time {
                            for (session, sender) in &mut feeds {
                                due += step;
                                match due.checked_duration_since(Instant::now()) {
                                    Some(wait) => std::thread::sleep(wait),
                                    None => _ = late.fetch_add(1, Ordering::Relaxed),
                                }
                                let event = sender.score(sender.seq);
                                let called = Instant::now();
                                assert_eq!(game.push(session, &[event]).status, 200);
                                times.push(called.elapsed());
                            }
                        }
                        times
                    })
                })
                .collect();
            callers.into_iter().flat_map(|caller| caller.join().expect("a caller")).collect()
        });
        times.sort();
        let cpu = 100.0 * (usage(pid).0 - before) / began.elapsed().as_secs_f64();
        let (p50, p99, rss) = (at(&times, 0.5), at(&times, 0.99), usage(pid).1);
        println!("{count:<26} {cpu:18.1} {rss:10.1} {p50:23.2} {p99:9.2} {:12}", late.into_inner());
    }
}

fn on_air(nginx: &Nginx, admin: &Client, operator: &Client, game: &Client, time: Duration) {
    let agent = operator.post("/v1/agents", &json!({ "name": "Ada", "defaults": { "size": "1280x720" } })).expect(201);
    let agent = agent["id"].as_str().expect("an id");
    let body = json!({ "kind": "rtmp", "ingest": nginx.ingest() });
    let made = operator.post(&format!("/v1/agents/{agent}/destinations"), &body).expect(201);
    let path = format!("/v1/destinations/{}/key", made["id"].as_str().expect("an id"));
    operator.put(&path, &json!({ "key": "bench" })).expect(200);
    operator.put(&format!("/v1/agents/{agent}/streaming"), &json!({ "enabled": true })).expect(200);
    let made = game.feed_session("on-air", json!({ "x": agent }));
    let session = made["session"]["id"].as_str().expect("an id");
    let mut sender = Sender::new("on-air");
    let began = Instant::now();
    game.push(session, &[sender.started()]).expect(200);
    let first = loop {
        if nginx.recordings("bench").iter().any(|path| std::fs::metadata(path).is_ok_and(|m| m.len() > 1_000)) {
            break began.elapsed();
        }
        assert!(began.elapsed() < Duration::from_secs(30), "never on air");
        std::thread::sleep(Duration::from_millis(5));
    };
    let ends = Instant::now() + time;
    while Instant::now() < ends {
        game.push(session, &[sender.score(sender.seq)]).expect(200);
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("\nOn air, 720p30: match.started posted → first bytes in nginx's recording: {} ms", first.as_millis());
    let metrics = admin.get("/metrics").text();
    let buckets: Vec<(f64, u64)> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("agentcast_event_to_packet_seconds_bucket{le=\""))
        .filter_map(|line| line.split_once("\"} "))
        .map(|(edge, count)| (edge.parse().unwrap_or(f64::INFINITY), count.parse().unwrap_or(0)))
        .collect();
    let total = buckets.last().map_or(0, |last| last.1);
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let edge = buckets.iter().find(|(_, count)| *count as f64 >= share * total as f64).map_or(f64::NAN, |b| b.0);
        println!(
            "state accepted → first packet that shows it, {name}: at most {:.0} ms ({total} events)",
            edge * 1_000.0
        );
    }
}
