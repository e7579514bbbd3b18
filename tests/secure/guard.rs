//! RTMP destinations whose names lead where they must not.

use crate::support::media::{Media, Player};
use crate::support::nginx::Nginx;
use crate::support::rtmp_receiver::{Behaviour, Receiver};
use agentcast::output::backoff::BackoffSettings;
use agentcast::output::key::{RtmpTarget, StreamKey};
use agentcast::output::rtmp::{AddressGuard, CheckLevel, RtmpOptions, RtmpOutput, probe};
use agentcast::output::{Destination, State};
use agentcast::secure::HostRules;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// In these tests the public address of the host, and one of somebody's own network behind the same name.
const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PRIVATE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn options(guard: AddressGuard) -> RtmpOptions {
    let backoff = BackoffSettings { first: SECOND / 10, factor: 1.6, cap: SECOND / 2, reset_after: 60 * SECOND };
    RtmpOptions { backoff, refusal_window: SECOND / 5, guard: Some(guard), ..RtmpOptions::default() }
}

fn play(url: &str, options: RtmpOptions) -> Player {
    let key = StreamKey::new("guarded-canary-key").expect("a good key");
    let target = RtmpTarget::parse(url, Some(key)).expect("a good address");
    let output: Box<dyn Destination> = Box::new(RtmpOutput::spawn(target, options).expect("a thread"));
    Player::start(output, &Media::at_kbps(600), 1.0)
}

fn judge(address: IpAddr) -> Result<(), String> {
    if address == PRIVATE { Err(format!("the name leads to {address}, which is not public")) } else { Ok(()) }
}

/// Answers with these addresses, call by call; the last ones for ever. `asked` counts.
fn resolver(answers: Vec<Vec<SocketAddr>>, asked: &Arc<AtomicUsize>) -> AddressGuard {
    let asked = asked.clone();
    AddressGuard::new(judge).with_resolver(move |host, _| {
        assert_eq!(host, "rebind.test");
        let n = asked.fetch_add(1, Ordering::SeqCst);
        Ok(answers[n.min(answers.len() - 1)].clone())
    })
}

#[test]
fn a_name_that_turns_private_after_the_check_gains_nothing() {
    let receiver = Receiver::start(Behaviour { drop_after: Some(40), ..Behaviour::default() });
    let port = receiver.address.port();
    let trap = TcpListener::bind((PRIVATE, port)).expect("an address of one's own");
    trap.set_nonblocking(true).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let guard = resolver(vec![vec![(PUBLIC, port).into()], vec![(PRIVATE, port).into()]], &asked);
    // No resolver of the world knows the name: a connection that came about went to the address that was checked.
    let player = play(&format!("rtmp://rebind.test:{port}/app"), options(guard));
    assert!(receiver.wait(15 * SECOND, |c| c.first().is_some_and(|c| c.published)), "{:?}", player.status());
    let status = player.wait(15 * SECOND, "refused", |s| s.state == State::NeedsAttention);
    let words = status.last_error.unwrap_or_default();
    assert!(words.contains("leads to 127.0.0.2, which is not public; check where the name leads"), "{words}");
    assert!(words.ends_with("then start the stream again"), "{words}");
    assert_eq!((asked.load(Ordering::SeqCst), receiver.connections().len()), (2, 1));
    assert_eq!(receiver.connections()[0].tc_url, Some(format!("rtmp://rebind.test:{port}/app")));
    assert_eq!(receiver.connections()[0].key.as_deref(), Some("guarded-canary-key"));
    assert_eq!(trap.accept().err().map(|e| e.kind()), Some(std::io::ErrorKind::WouldBlock), "nobody knocked");
    player.stop(SECOND);
}

#[test]
fn one_private_address_among_public_ones_refuses_the_name_before_anything_is_sent() {
    let receiver = Receiver::start(Behaviour::default());
    let port = receiver.address.port();
    let asked = Arc::new(AtomicUsize::new(0));
    let guard = resolver(vec![vec![(PUBLIC, port).into(), (PRIVATE, port).into()]], &asked);
    let url = format!("rtmp://rebind.test:{port}/app");
    let player = play(&url, options(guard.clone()));
    player.wait(10 * SECOND, "refused", |s| s.state == State::NeedsAttention);
    player.stop(SECOND);
    let lines = probe(&RtmpTarget::parse(&url, None).unwrap(), &options(guard));
    assert_eq!((lines[0].step, lines[0].level), ("DNS", CheckLevel::Fail));
    assert!(lines[0].words.contains("not public"), "{lines:?}");
    assert_eq!(receiver.connections().len(), 0);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn an_address_that_does_not_answer_gives_way_to_the_next_one() {
    let receiver = Receiver::start(Behaviour::default());
    let port = receiver.address.port();
    let dead = SocketAddr::from(([127, 0, 0, 3], port));
    let guard = resolver(vec![vec![dead, (PUBLIC, port).into()]], &Arc::new(AtomicUsize::new(0)));
    let player = play(&format!("rtmp://rebind.test:{port}/app"), options(guard));
    let status = player.wait_live();
    assert_eq!((status.last_error, status.reconnects), (None, 0));
    player.stop(SECOND);
}

#[test]
fn the_services_own_rules_refuse_this_machine_unless_a_setting_allows_it() {
    let receiver = Receiver::start(Behaviour::default());
    let url = format!("rtmp://{}/app", receiver.address);
    let guard = |allow_private| {
        let rules = HostRules { allowed: vec!["127.0.0.1:*".into()], allow_private };
        AddressGuard::new(rules.judge("127.0.0.1"))
    };
    let refused = play(&url, options(guard(false)));
    let status = refused.wait(10 * SECOND, "refused", |s| s.state == State::NeedsAttention);
    assert!(status.last_error.is_some_and(|w| w.contains("leads to 127.0.0.1, which is not a public address")));
    assert_eq!(receiver.connections().len(), 0);
    let allowed = play(&url, options(guard(true)));
    allowed.wait_live();
    let lines = probe(&RtmpTarget::parse(&url, None).unwrap(), &options(guard(true)));
    assert!(lines.iter().any(|l| l.step == "RTMP" && l.level == CheckLevel::Ok), "{lines:?}");
}

#[test]
fn rtmps_goes_by_name_after_the_check_so_that_the_certificate_is_the_hosts() {
    let nginx = Nginx::start();
    let url = nginx.tls_url("k");
    let url = url.rsplit_once('/').map(|(url, _)| url).unwrap_or_default();
    let guarded = |allow_private| {
        let rules = HostRules { allow_private, ..HostRules::default() };
        RtmpOptions { ca_file: Some(nginx.ca()), ..options(AddressGuard::new(rules.judge("localhost"))) }
    };
    let good = play(url, guarded(true));
    good.wait_live();
    let refused = play(url, guarded(false));
    refused.wait(10 * SECOND, "refused", |s| s.state == State::NeedsAttention);
    good.stop(2 * SECOND);
}
