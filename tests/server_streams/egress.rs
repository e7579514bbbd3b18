//! Destinations that LiveKit's Egress service sends to, with an API that answers as a server with a healthy worker does.

use crate::*;
use agentcast::livekit::Server;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::Uri;
use livekit_protocol as proto;
use prost::Message;
use secrecy::SecretString;

#[derive(Clone, Default)]
struct Api(Arc<Mutex<Jobs>>);

#[derive(Default)]
struct Jobs {
    /// In the order in which they were started.
    all: Vec<proto::EgressInfo>,
    /// Ids.
    stops: Vec<String>,
    /// A stop is done at once, not when [`Api::end`] says.
    quick: bool,
}

impl Api {
    async fn serve(&self) -> Server {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Server::new(&format!("http://127.0.0.1:{port}"), "key", SecretString::from("secret")).unwrap()
    }

    fn jobs(&self) -> usize {
        self.0.lock().unwrap().all.len()
    }

    fn stops(&self) -> Vec<String> {
        self.0.lock().unwrap().stops.clone()
    }

    /// What was told to stop has.
    fn end(&self) {
        for job in self.0.lock().unwrap().all.iter_mut().filter(|j| j.status() == proto::EgressStatus::EgressEnding) {
            job.set_status(proto::EgressStatus::EgressComplete);
            job.updated_at += 1;
        }
    }
}

async fn answer(Shared(api): Shared<Api>, uri: Uri, body: Bytes) -> Vec<u8> {
    let mut jobs = api.0.lock().unwrap();
    match uri.path().rsplit('/').next().unwrap_or_default() {
        // The room of a stream is called as its publisher.
        "ListParticipants" => {
            let room = proto::ListParticipantsRequest::decode(&*body).unwrap().room;
            let track = proto::TrackInfo { r#type: proto::TrackType::Video.into(), ..Default::default() };
            let mut people =
                vec![proto::ParticipantInfo { identity: room.clone(), tracks: vec![track], ..Default::default() }];
            let runs = |j: &&proto::EgressInfo| j.room_name == room && j.status < 3;
            people.extend(jobs.all.iter().filter(runs).map(|job| proto::ParticipantInfo {
                identity: job.egress_id.clone(),
                kind: proto::participant_info::Kind::Egress.into(),
                ..Default::default()
            }));
            proto::ListParticipantsResponse { participants: people }.encode_to_vec()
        }
        "ListEgress" => {
            let id = proto::ListEgressRequest::decode(&*body).unwrap().egress_id;
            let items = jobs.all.iter().filter(|j| id.is_empty() || j.egress_id == id).cloned().collect();
            proto::ListEgressResponse { items, ..Default::default() }.encode_to_vec()
        }
        "StartParticipantEgress" => {
            let room_name = proto::ParticipantEgressRequest::decode(&*body).unwrap().room_name;
            let egress_id = format!("EG_{}", jobs.all.len() + 1);
            let mut job = proto::EgressInfo { egress_id, room_name, updated_at: 1, ..Default::default() };
            job.set_status(proto::EgressStatus::EgressActive);
            job.stream_results = vec![proto::StreamInfo { started_at: 1, ..Default::default() }];
            jobs.all.push(job.clone());
            job.encode_to_vec()
        }
        "StopEgress" => {
            let id = proto::StopEgressRequest::decode(&*body).unwrap().egress_id;
            jobs.stops.push(id.clone());
            let status =
                if jobs.quick { proto::EgressStatus::EgressComplete } else { proto::EgressStatus::EgressEnding };
            let Some(job) = jobs.all.iter_mut().find(|j| j.egress_id == id) else { return Vec::new() };
            job.set_status(status);
            job.updated_at += 1;
            job.encode_to_vec()
        }
        _ => Vec::new(),
    }
}

async fn enable(world: &World, enabled: bool) {
    let destination = world.store().destination(None, "d-a").await.unwrap();
    let new = Destination { via: Via::LivekitEgress, enabled, ..destination };
    world.store().update_destination(&new, None).await.unwrap();
    world.service.streams().poke();
}

/// A stream of agent `a` with a job that sends.
async fn on_air(api: &Api) -> World {
    let world = World::with(Arc::<FakeStage>::default(), SECOND, Some(api.serve().await)).await;
    world.agent("a", NOWHERE).await;
    enable(&world, true).await;
    world.match_("m", ["a", ""]).await;
    world.starts("m").await;
    until("a job", || (api.jobs() == 1).then_some(())).await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn destination_that_is_put_back_begins_when_its_egress_job_has_stopped() {
    let api = Api::default();
    let world = on_air(&api).await;
    let enable = async |enabled: bool| enable(&world, enabled).await;
    enable(false).await;
    until("the request to stop it", || (api.stops() == ["EG_1"]).then_some(())).await;
    world.gone("a").await;
    enable(true).await;
    let words = until("why it waits", || world.of("a")?.destinations.into_iter().find_map(|d| d.trouble)).await;
    assert!(words.contains("with a job from before"), "{words}");
    assert_eq!(api.jobs(), 1, "the platform would refuse the second one");
    api.end();
    until("the next job", || (api.jobs() == 2).then_some(())).await;
    api.0.lock().unwrap().quick = true;
    world.service.leave_air(10 * SECOND).await;
    assert_eq!(api.stops(), ["EG_1", "EG_2"], "nobody could stop it later");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_that_drains_waits_for_egress_jobs_that_take_longer_than_their_streams() {
    let api = Api::default();
    let world = on_air(&api).await;
    enable(&world, false).await;
    until("the request to stop it", || (api.stops() == ["EG_1"]).then_some(())).await;
    world.gone("a").await;
    let mut drain = std::pin::pin!(world.service.leave_air(3 * PATIENCE));
    let early = tokio::time::timeout(2 * SECOND, &mut drain).await;
    assert!(early.is_err(), "the next start would be a second publisher");
    api.end();
    tokio::time::timeout(PATIENCE, drain).await.expect("nothing is left to wait for");
}
