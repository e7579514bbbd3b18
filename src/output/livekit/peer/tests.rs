//! Our peer connection against a plain str0m one, over real sockets on loopback.

use super::*;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use str0m::change::SdpOffer;
use str0m::media::MediaData;
use str0m::net::{Protocol, Receive};
use str0m::rtp::rtcp::SenderInfo;
use str0m::{Candidate, Event, Input, Output, Rtc};

const PATIENCE: Duration = Duration::from_secs(20);

fn settings() -> PeerSettings {
    PeerSettings {
        name: "test".into(),
        publisher: true,
        ice: IcePolicy::Udp,
        ice_servers: Vec::new(),
        server: vec!["127.0.0.1:7880".parse().unwrap()],
        watchdog: Duration::from_secs(3),
    }
}

/// The server's side: answers one offer and records what arrives.
struct Remote {
    answer: String,
    media: mpsc::UnboundedReceiver<MediaData>,
    data: mpsc::UnboundedReceiver<(bool, Vec<u8>)>,
    /// Sender reports that came after the first media: str0m reports RTP time 0 before.
    reports: mpsc::UnboundedReceiver<(Mid, SenderInfo)>,
    /// While set nothing of RTP and RTCP passes in either direction; STUN does, so ICE finds nothing wrong.
    silent: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

fn remote(offer: &str) -> Remote {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let local = socket.local_addr().unwrap();
    let mut rtc = Rtc::builder()
        .set_reordering_size_video(400)
        .set_rtcp_report_interval_video(Duration::from_millis(50))
        .set_rtcp_report_interval_audio(Duration::from_millis(50))
        .build(Instant::now());
    rtc.add_local_candidate(Candidate::host(local, "udp").unwrap());
    let answer = rtc.sdp_api().accept_offer(SdpOffer::from_sdp_string(offer).unwrap()).unwrap().to_sdp_string();
    let (media_tx, media) = mpsc::unbounded_channel();
    let (data_tx, data) = mpsc::unbounded_channel();
    let (report_tx, reports) = mpsc::unbounded_channel();
    let (silent, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let thread = std::thread::spawn({
        let (silent, stop) = (silent.clone(), stop.clone());
        move || {
            let swallowed = |packet: &[u8]| silent.load(Ordering::Relaxed) && (128..192).contains(&packet[0]);
            let mut buffer = [0; 2048];
            let mut labels = Vec::new();
            while !stop.load(Ordering::Relaxed) && rtc.is_alive() {
                let deadline = loop {
                    match rtc.poll_output().unwrap() {
                        Output::Timeout(at) => break at,
                        Output::Transmit(packet) if swallowed(&packet.contents) => {}
                        Output::Transmit(packet) => drop(socket.send_to(&packet.contents, packet.destination)),
                        Output::Event(Event::MediaData(data)) => drop(media_tx.send(data)),
                        Output::Event(Event::ChannelOpen(id, label)) => labels.push((id, label == RELIABLE)),
                        Output::Event(Event::ChannelData(message)) => {
                            let reliable = labels.iter().find(|l| l.0 == message.id).unwrap().1;
                            let _ = data_tx.send((reliable, message.data));
                        }
                        Output::Event(Event::SenderFeedback(f)) if f.sender_info.rtp_time.numer() != 0 => {
                            let _ = report_tx.send((f.mid, f.sender_info));
                        }
                        Output::Event(_) => {}
                    }
                };
                let wait = deadline.saturating_duration_since(Instant::now()).min(Duration::from_millis(20));
                socket.set_read_timeout(Some(wait.max(Duration::from_millis(1)))).unwrap();
                let input = match socket.recv_from(&mut buffer) {
                    Ok((len, source)) if len > 0 && !swallowed(&buffer[..len]) => {
                        let Ok(receive) = Receive::new(Protocol::Udp, source, local, &buffer[..len]) else { continue };
                        Input::Receive(Instant::now(), receive)
                    }
                    _ => Input::Timeout(Instant::now()),
                };
                rtc.handle_input(input).unwrap();
            }
        }
    });
    Remote { answer, media, data, reports, silent, stop, thread: Some(thread) }
}

async fn event(peer: &mut Peer, wanted: impl Fn(&PeerEvent) -> bool) -> PeerEvent {
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            let event = peer.events.recv().await.expect("the task has ended");
            if wanted(&event) {
                return event;
            }
            assert!(!matches!(event, PeerEvent::Closed { .. }), "{event:?}");
        }
    });
    found.await.expect("the event did not come")
}

async fn send(peer: &Peer, command: PeerCommand) {
    peer.commands.send(command).await.unwrap();
}

/// A peer with a video and an audio section, connected to a remote.
async fn connected(settings: PeerSettings) -> (Peer, Remote, Mid, Mid) {
    let mut peer = Peer::open(settings).await.unwrap();
    let (video_tx, video) = oneshot::channel();
    let (audio_tx, audio) = oneshot::channel();
    send(&peer, PeerCommand::AddTrack { kind: MediaKind::Video, cid: "v".into(), mid: video_tx }).await;
    send(&peer, PeerCommand::AddTrack { kind: MediaKind::Audio, cid: "a".into(), mid: audio_tx }).await;
    send(&peer, PeerCommand::Negotiate { ice_restart: false }).await;
    let PeerEvent::Offer(offer) = event(&mut peer, |e| matches!(e, PeerEvent::Offer(_))).await else { unreachable!() };
    let remote = remote(&offer);
    send(&peer, PeerCommand::Answer(remote.answer.clone())).await;
    event(&mut peer, |e| matches!(e, PeerEvent::Connected)).await;
    (peer, remote, video.await.unwrap(), audio.await.unwrap())
}

/// An access unit of one NAL unit; `size` bytes of a counter.
fn access_unit(idr: bool, size: usize) -> Bytes {
    let mut unit = vec![0, 0, 0, 1, if idr { 0x65 } else { 0x41 }];
    unit.extend((0..size).map(|i| 1 + (i % 250) as u8));
    unit.into()
}

async fn next<T>(receiver: &mut mpsc::UnboundedReceiver<T>) -> T {
    tokio::time::timeout(PATIENCE, receiver.recv()).await.expect("nothing arrived").unwrap()
}

#[tokio::test]
async fn video_audio_and_data_arrive_whole_and_on_one_clock() {
    let (mut peer, mut remote, video, audio) = connected(settings()).await;
    event(&mut peer, |e| matches!(e, PeerEvent::DataOpen { .. })).await;
    event(&mut peer, |e| matches!(e, PeerEvent::DataOpen { .. })).await;
    send(&peer, PeerCommand::Data { reliable: true, bytes: vec![1; 10_000] }).await;
    send(&peer, PeerCommand::Data { reliable: false, bytes: vec![2; 100] }).await;

    // Sound of the same moment is written 300 ms after the picture; both clocks start elsewhere.
    let start = Instant::now();
    let (video_base, audio_base) = (90_000 * 50, 48_000 * 7);
    let mut frames = Vec::new();
    for i in 0..70u64 {
        let captured = start + Duration::from_millis(33 * i);
        tokio::time::sleep_until(captured.into()).await;
        let data = access_unit(i % 20 == 0, if i % 20 == 0 { 60_000 } else { 5_000 });
        frames.push(data.clone());
        send(&peer, PeerCommand::Video { mid: video, data, rtp: video_base + 2_970 * i, captured }).await;
        if let Some(sound) = i.checked_sub(9) {
            let captured = start + Duration::from_millis(33 * sound);
            let (data, rtp) = (Bytes::from(vec![9; 160]), audio_base + 1_584 * sound);
            send(&peer, PeerCommand::Audio { mid: audio, data, rtp, captured }).await;
        }
    }
    let mut seen = (Vec::new(), 0);
    while seen.0.len() < 70 || seen.1 < 61 {
        let media = next(&mut remote.media).await;
        match media.mid == video {
            true => seen.0.push(media.data.to_vec()),
            false => seen.1 += 1,
        }
    }
    assert!(seen.0.iter().zip(&frames).all(|(got, sent)| got[..] == sent[..]), "a picture arrived changed");
    // The moment of the first capture by the sender's wall clock, as each track's reports tell it.
    let (mut by_video, mut by_audio) = (None, None);
    while by_video.is_none() || by_audio.is_none() {
        let (mid, info) = next(&mut remote.reports).await;
        let (rate, base, origin) = match mid == video {
            true => (90_000.0, video_base, &mut by_video),
            false => (48_000.0, audio_base, &mut by_audio),
        };
        let since = (info.rtp_time.numer() as u32).wrapping_sub(base as u32);
        *origin = Some(info.ntp_time - Duration::from_secs_f64(f64::from(since) / rate));
    }
    let (video, audio) = (by_video.unwrap(), by_audio.unwrap());
    let skew = video.duration_since(audio).unwrap_or_else(|e| e.duration());
    assert!(skew < Duration::from_millis(5), "sender reports disagree by {skew:?}");

    let mut data = vec![next(&mut remote.data).await, next(&mut remote.data).await];
    data.sort();
    assert_eq!(data, [(false, vec![2; 100]), (true, vec![1; 10_000])]);
    let stats = event(&mut peer, |e| matches!(e, PeerEvent::Stats(s) if s.loss.is_some())).await;
    let PeerEvent::Stats(stats) = stats else { unreachable!() };
    assert_eq!((stats.path, stats.dropped), ("udp", 0));
    // A busy machine's socket may lose a packet, which is sent again.
    assert!(stats.loss.is_some_and(|loss| loss < 0.05), "{stats:?}");
    assert!(stats.sent > 100_000 && stats.round_trip.is_some_and(|t| t < Duration::from_secs(1)), "{stats:?}");

    send(&peer, PeerCommand::Close).await;
    let closed = event(&mut peer, |e| matches!(e, PeerEvent::Closed { .. })).await;
    assert!(matches!(closed, PeerEvent::Closed { error: None }));
}

#[tokio::test]
async fn large_idr_arrives_whole_and_soon() {
    let (peer, mut remote, video, _) = connected(settings()).await;
    let mut times = Vec::new();
    for i in 0..5u64 {
        let sent = Instant::now();
        let data = access_unit(true, 150_000);
        send(&peer, PeerCommand::Video { mid: video, data: data.clone(), rtp: 3_000 * i, captured: sent }).await;
        let media = next(&mut remote.media).await;
        assert_eq!(media.data[..], data[..]);
        let took = sent.elapsed();
        assert!(took > Duration::from_millis(15), "blasted in {took:?}");
        times.push(took);
    }
    times.sort_unstable();
    println!("150 kB in {times:?}");
    assert!(times[2] < Duration::from_millis(500), "{times:?}");
}

/// Sends pictures until the peer connection ends.
fn keep_sending(peer: &Peer, mid: Mid) {
    let commands = peer.commands.clone();
    tokio::spawn(async move {
        for i in 0.. {
            let (data, captured) = (access_unit(i == 0, 1_000), Instant::now());
            if commands.send(PeerCommand::Video { mid, data, rtp: 3_000 * i, captured }).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(33)).await;
        }
    });
}

#[tokio::test]
async fn server_that_falls_silent_is_noticed_by_the_watchdog_once_and_again_after_it_came_back() {
    let watchdog = Duration::from_secs(2);
    let (mut peer, remote, video, _) = connected(PeerSettings { watchdog, ..settings() }).await;
    keep_sending(&peer, video);
    for _ in 0..2 {
        // Loss is known from reports of the server only.
        event(&mut peer, |e| matches!(e, PeerEvent::Stats(s) if s.loss.is_some())).await;
        remote.silent.store(true, Ordering::Relaxed);
        event(&mut peer, |e| matches!(e, PeerEvent::PathDead)).await;
        let silence = |e: &PeerEvent| matches!(e, PeerEvent::Stats(s) if s.loss.is_none());
        let then = event(&mut peer, |e| silence(e) || matches!(e, PeerEvent::PathDead)).await;
        assert!(silence(&then), "told twice");
        remote.silent.store(false, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn server_that_answers_ice_but_never_reports_is_noticed_by_the_watchdog() {
    let watchdog = Duration::from_secs(2);
    let (mut peer, remote, video, _) = connected(PeerSettings { watchdog, ..settings() }).await;
    remote.silent.store(true, Ordering::Relaxed);
    keep_sending(&peer, video);
    event(&mut peer, |e| matches!(e, PeerEvent::PathDead)).await;
}

#[tokio::test]
async fn data_that_finds_no_room_is_counted() {
    let mut peer = Peer::open(settings()).await.unwrap();
    send(&peer, PeerCommand::Negotiate { ice_restart: false }).await;
    let PeerEvent::Offer(offer) = event(&mut peer, |e| matches!(e, PeerEvent::Offer(_))).await else { unreachable!() };
    // Nowhere to go yet: 256 may wait.
    for _ in 0..300 {
        send(&peer, PeerCommand::Data { reliable: true, bytes: vec![1; 100] }).await;
    }
    let mut remote = remote(&offer);
    send(&peer, PeerCommand::Answer(remote.answer.clone())).await;
    event(&mut peer, |e| matches!(e, PeerEvent::Stats(s) if s.data_dropped == 44)).await;
    for _ in 0..256 {
        next(&mut remote.data).await;
    }
}

#[tokio::test]
async fn connection_that_is_closed_once_its_data_was_acknowledged_loses_none() {
    let (mut peer, mut remote, ..) = connected(settings()).await;
    event(&mut peer, |e| matches!(e, PeerEvent::DataOpen { reliable: true })).await;
    // More than goes out before the first acknowledgement.
    for n in 0..40 {
        send(&peer, PeerCommand::Data { reliable: true, bytes: vec![n; 10_000] }).await;
    }
    let (drained, done) = oneshot::channel();
    send(&peer, PeerCommand::Drained(drained)).await;
    tokio::time::timeout(PATIENCE, done).await.expect("an answer").unwrap();
    send(&peer, PeerCommand::Close).await;
    for n in 0..40 {
        assert_eq!(next(&mut remote.data).await, (true, vec![n; 10_000]));
    }
}

#[tokio::test]
async fn description_that_cannot_be_used_closes_with_words() {
    for nonsense in [
        "",
        "v=0\r\n",
        "hello",
        "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-pwd:secretsecretsecretsecret\r\n",
    ] {
        let mut peer = Peer::open(settings()).await.unwrap();
        let (mid, _mid) = oneshot::channel();
        send(&peer, PeerCommand::AddTrack { kind: MediaKind::Video, cid: "v".into(), mid }).await;
        send(&peer, PeerCommand::Negotiate { ice_restart: false }).await;
        send(&peer, PeerCommand::RemoteCandidate("candidate:nonsense".into())).await;
        send(&peer, PeerCommand::Answer(nonsense.into())).await;
        let closed = event(&mut peer, |e| matches!(e, PeerEvent::Closed { .. })).await;
        let PeerEvent::Closed { error: Some(error) } = closed else { panic!("{closed:?}") };
        assert!(error.starts_with("the LiveKit server's answer cannot be used"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
    let mut peer = Peer::open(PeerSettings { publisher: false, ..settings() }).await.unwrap();
    send(&peer, PeerCommand::Offer("nonsense".into())).await;
    let closed = event(&mut peer, |e| matches!(e, PeerEvent::Closed { .. })).await;
    assert!(matches!(closed, PeerEvent::Closed { error: Some(e) } if e.contains("offer")));
}

#[tokio::test]
async fn second_offer_waits_for_the_answer_to_the_first() {
    let mut peer = Peer::open(settings()).await.unwrap();
    send(&peer, PeerCommand::Negotiate { ice_restart: false }).await;
    let PeerEvent::Offer(offer) = event(&mut peer, |e| matches!(e, PeerEvent::Offer(_))).await else { unreachable!() };
    let (mid, added) = oneshot::channel();
    send(&peer, PeerCommand::AddTrack { kind: MediaKind::Audio, cid: "a".into(), mid }).await;
    send(&peer, PeerCommand::Negotiate { ice_restart: false }).await;
    let remote = remote(&offer);
    send(&peer, PeerCommand::Answer(remote.answer.clone())).await;
    let again = event(&mut peer, |e| matches!(e, PeerEvent::Offer(_))).await;
    assert!(matches!(again, PeerEvent::Offer(sdp) if sdp.contains("m=audio")));
    assert!(added.await.is_ok());
}

#[tokio::test]
async fn ice_restart_does_not_wait_for_an_answer_that_was_lost() {
    let (mut peer, mut remote, video, _) = connected(settings()).await;
    for _ in 0..2 {
        send(&peer, PeerCommand::Negotiate { ice_restart: true }).await;
        let offer = event(&mut peer, |e| matches!(e, PeerEvent::Offer(_))).await;
        assert!(matches!(&offer, PeerEvent::Offer(sdp) if sdp.contains("ice-ufrag")), "{offer:?}");
    }
    let data = access_unit(true, 3_000);
    send(&peer, PeerCommand::Video { mid: video, data: data.clone(), rtp: 0, captured: Instant::now() }).await;
    assert_eq!(next(&mut remote.media).await.data[..], data[..], "media goes on meanwhile");
}

#[tokio::test]
async fn session_that_goes_away_ends_the_task() {
    let Peer { commands, mut events, task } = Peer::open(settings()).await.unwrap();
    drop(commands);
    let last = tokio::time::timeout(PATIENCE, async {
        let mut last = None;
        while let Some(event) = events.recv().await {
            last = Some(event);
        }
        last
    });
    assert!(matches!(last.await.unwrap(), Some(PeerEvent::Closed { error: None })));
    task.join(PATIENCE).await;
}

fn through(turn: std::net::SocketAddr, password: &str) -> PeerSettings {
    let (username, credential) = (fake_turn::USER.into(), password.into());
    let server = proto::IceServer { urls: vec![format!("turn:{turn}?transport=tcp")], username, credential };
    PeerSettings { ice: IcePolicy::Relay, ice_servers: vec![server], ..settings() }
}

#[tokio::test]
async fn media_goes_through_a_turn_server_and_the_address_is_given_back() {
    let (turn, mut end) = fake_turn::start().await;
    let (mut peer, mut remote, video, _) = connected(through(turn, fake_turn::PASSWORD)).await;
    for i in 0..3u64 {
        // Odd sizes: channel data on a stream is padded.
        let (data, captured) = (access_unit(true, 30_001 + i as usize), Instant::now());
        send(&peer, PeerCommand::Video { mid: video, data: data.clone(), rtp: 3_000 * i, captured }).await;
        assert_eq!(next(&mut remote.media).await.data[..], data[..]);
    }
    event(&mut peer, |e| matches!(e, PeerEvent::Stats(s) if s.path == "turn tcp")).await;
    peer.closed(PATIENCE).await;
    assert!(end.recv().await.unwrap(), "the allocation was left to expire");
}

#[tokio::test]
async fn peer_that_is_dropped_gives_its_turn_address_back_too() {
    let (turn, mut end) = fake_turn::start().await;
    let (peer, _remote, ..) = connected(through(turn, fake_turn::PASSWORD)).await;
    drop(peer);
    assert!(tokio::time::timeout(PATIENCE, end.recv()).await.unwrap().unwrap(), "the allocation was left to expire");
}

#[tokio::test]
async fn ice_restart_keeps_a_relay_unless_the_path_died_then_a_fresh_one_takes_its_place() {
    let (turn, mut end) = fake_turn::start().await;
    let through = PeerSettings { watchdog: Duration::from_secs(2), ..through(turn, fake_turn::PASSWORD) };
    let (mut peer, remote, video, _) = connected(through.clone()).await;
    let relayed = |e: &PeerEvent| matches!(e, PeerEvent::LocalCandidate(c) if c.contains("typ relay"));
    // A resume brings new credentials, whatever it was that broke.
    send(&peer, PeerCommand::IceServers(through.ice_servers.clone())).await;
    keep_sending(&peer, video);
    event(&mut peer, |e| {
        assert!(!relayed(e), "a relay that works is replaced");
        matches!(e, PeerEvent::Stats(s) if s.loss.is_some())
    })
    .await;
    remote.silent.store(true, Ordering::Relaxed);
    event(&mut peer, |e| matches!(e, PeerEvent::PathDead)).await;
    assert!(end.try_recv().is_err(), "given up before there is another one");
    send(&peer, PeerCommand::IceServers(through.ice_servers)).await;
    send(&peer, PeerCommand::Negotiate { ice_restart: true }).await;
    event(&mut peer, relayed).await;
    assert!(tokio::time::timeout(PATIENCE, end.recv()).await.unwrap().unwrap(), "the old relay was left to expire");
}

#[tokio::test]
async fn turn_only_peer_says_why_there_is_no_relay() {
    let error = Peer::open(PeerSettings { ice: IcePolicy::Relay, ..settings() }).await.unwrap_err();
    assert!(error.contains("offers no TURN server"), "{error}");

    let (turn, _end) = fake_turn::start().await;
    let mut peer = Peer::open(through(turn, "wrong-secret")).await.unwrap();
    let closed = event(&mut peer, |e| matches!(e, PeerEvent::Closed { .. })).await;
    let PeerEvent::Closed { error: Some(error) } = closed else { panic!("{closed:?}") };
    assert!(error.contains("refuses the credentials") && !error.contains("wrong-secret"), "{error}");

    let closed_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut peer = Peer::open(through(closed_port, "x")).await.unwrap();
    let closed = event(&mut peer, |e| matches!(e, PeerEvent::Closed { .. })).await;
    assert!(matches!(closed, PeerEvent::Closed { error: Some(e) } if e.contains("turn tcp server 127.0.0.1")));
}
