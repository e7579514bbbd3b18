//! `agentcast serve` as an operator runs it: what it refuses to start with, how it takes new settings, how it ends, and what it
//! never says.

mod support;

use agentcast::store::Hold;
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use support::dir::TempDir;
use support::postgres::Postgres;
use support::program::{PATIENCE, Program, agentcast, command_lines, run, wait_until};
use support::rtmp_receiver::{Behaviour, Connection, Receiver};
use support::service::{Client, JWT_SECRET, KEK, Sender, Service, Setup};

/// If one of these is ever seen, a secret leaked.
const LIVEKIT_SECRET: &str = "livekit-canary-0f3b9a7c5e1d2846b7d9c1f0";
const PASSWORD: &str = "database-canary-5c1e9a";
const KEK_NAME: &str = "STREAM_KEY_ENCRYPTION_KEY";

/// A service to be started on this folder, with good secrets.
fn serve(dir: &Path) -> Command {
    let mut command = agentcast();
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("AGENTCAST_DATA_DIR", dir);
    command.env("STREAM_KEY_ENCRYPTION_KEY", KEK).env("STREAMING_JWT_SECRET", JWT_SECRET);
    command
}

/// A new database.
fn database(server: &Postgres) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(server.database())
}

/// Runs a command that is expected to end by itself: exit code and what it said.
fn ends(command: &mut Command) -> (Option<i32>, String) {
    let mut program = Program::start(command);
    let status = program.end(PATIENCE);
    (status.code(), program.said())
}

#[test]
fn missing_or_weak_secrets_keep_it_from_starting_and_each_names_the_command_that_makes_one() {
    let dir = TempDir::new("weak");
    let data = dir.path().join("data");
    let mut bare = serve(&data);
    bare.env_remove("STREAM_KEY_ENCRYPTION_KEY").env_remove("STREAMING_JWT_SECRET");
    let (code, said) = ends(bare.env("LIVEKIT_URL", "wss://live.example.com"));
    assert_eq!(code, Some(2), "{said}");
    for wanted in [
        "STREAM_KEY_ENCRYPTION_KEY is not set; `agentcast key generate` makes one",
        "STREAMING_JWT_SECRET is not set; `agentcast key generate --jwt` makes one",
        "not set: LIVEKIT_API_KEY, LIVEKIT_API_SECRET",
    ] {
        assert!(said.contains(wanted), "no {wanted:?} in\n{said}");
    }
    for (name, weak, makes) in [
        ("STREAM_KEY_ENCRYPTION_KEY", "canary", "`agentcast key generate`"),
        (
            "STREAM_KEY_ENCRYPTION_KEY",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "`agentcast key",
        ),
        ("STREAMING_JWT_SECRET", "canary-of-less-than-32-bytes", "`agentcast key generate --jwt`"),
    ] {
        let (code, said) = ends(serve(&data).env(name, weak));
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(name) && said.contains(makes) && !said.contains(weak), "{said}");
    }
    assert!(!data.exists(), "nothing is made before the secrets are right");
    // What the commands make is good enough.
    let (_, kek) = run(&["key", "generate"]);
    let (_, jwt) = run(&["key", "generate", "--jwt"]);
    let mut command = serve(&data);
    command.env("STREAM_KEY_ENCRYPTION_KEY", kek.trim()).env("STREAMING_JWT_SECRET", jwt.trim());
    let mut program = Program::start(&mut command);
    program.wait_for("agentcast serve: http://127.0.0.1:");
    for wanted in ["docs:     http://127.0.0.1:", "agentcast.db", "streams:  off", "agentcast apikey create"] {
        program.wait_for(wanted);
    }
    assert_eq!(program.stop(libc::SIGTERM).code(), Some(0), "{}", program.said());
}

#[test]
fn a_second_service_on_the_same_folder_and_a_port_that_is_taken_are_refused_in_words() {
    let dir = TempDir::new("twice");
    let mut first = Program::start(&mut serve(&dir.path().join("one")));
    let line = first.wait_for("agentcast serve: http://");
    let address = line.split("http://").nth(1).unwrap().trim_end_matches('/').to_owned();
    let (code, said) = ends(&mut serve(&dir.path().join("one")));
    assert!(code == Some(1) && said.contains("another agentcast serve is using it"), "{code:?} {said}");
    let mut other = agentcast();
    other.args(["serve", "--listen", &address]).env("AGENTCAST_DATA_DIR", dir.path().join("two"));
    other.env("STREAM_KEY_ENCRYPTION_KEY", KEK).env("STREAMING_JWT_SECRET", JWT_SECRET);
    let (code, said) = ends(&mut other);
    assert!(code == Some(1) && said.contains(&format!("--listen {address}: cannot listen there")), "{code:?} {said}");
    assert_eq!(first.stop(libc::SIGINT).code(), Some(0));
}

#[test]
fn two_services_on_one_database_wait_for_each_other_and_the_second_takes_over_when_the_first_ends() {
    let (server, dir) = (Postgres::shared(), TempDir::new("hold"));
    let url = database(&server);
    let on = |name: &str| {
        let mut command = serve(&dir.path().join(name));
        Program::start(command.env("AGENTCAST_DATABASE", &url))
    };
    let mut first = on("one");
    first.wait_for("agentcast serve: http://");
    let mut second = on("two");
    second.wait_for("another one works on this database; waiting for it to end");
    assert!(!second.said().contains("http://"), "{}", second.said());
    // Whoever is told to end while it waits ends.
    let mut third = on("three");
    third.wait_for("waiting for it to end");
    assert_eq!(third.stop(libc::SIGTERM).code(), Some(1));
    assert_eq!(first.stop(libc::SIGTERM).code(), Some(0), "{}", first.said());
    second.wait_for("agentcast serve: http://");
    assert_eq!(second.stop(libc::SIGTERM).code(), Some(0), "{}", second.said());
    for said in [first.said(), second.said(), third.said()] {
        assert!(!said.contains("canary-pg"), "{said}");
    }
}

/// A service with a match on air at a receiver of our own.
struct OnAir {
    service: Service,
    receiver: Receiver,
    /// Agents of the match, each with its destination: their ids.
    agents: [(String, String); 2],
    /// Of the match's game.
    feed: Client,
    session: String,
    sender: Sender,
}

impl OnAir {
    fn new(toml: &str) -> OnAir {
        OnAir::on(toml, &[])
    }

    fn on(toml: &str, more: &[(&str, &str)]) -> OnAir {
        let receiver = Receiver::start(Behaviour::default());
        let ingest = receiver.url("x").rsplit_once('/').expect("a key").0.to_owned();
        let hosts = "[destinations]\nallowed_hosts = [\"127.0.0.1:*\"]\nallow_private = true\n";
        let env = [("STREAMING_ENABLED", "true")].iter().chain(more).map(|(n, v)| (n.to_string(), v.to_string()));
        let service = Service::start(Setup { toml: format!("{hosts}{toml}"), env: env.collect() });
        let (tenant, operator) = service.tenant("Arena", "operator");
        let id = |made: &Value| made["id"].as_str().expect("an id").to_owned();
        let agents = ["Nightjar", "Corncrake"].map(|name| {
            let agent = id(&operator.post("/v1/agents", &json!({ "name": name })).expect(201));
            let body = json!({ "kind": "rtmp", "ingest": ingest });
            let destination = id(&operator.post(&format!("/v1/agents/{agent}/destinations"), &body).expect(201));
            let key = json!({ "key": "serve-test-key" });
            operator.put(&format!("/v1/destinations/{destination}/key"), &key).expect(200);
            (agent, destination)
        });
        let on = |agent: &str| operator.put(&format!("/v1/agents/{agent}/streaming"), &json!({ "enabled": true }));
        on(&agents[0].0).expect(200);
        let game = service.key(&tenant, "game");
        let session = game.feed_session("qf2", json!({ "x": agents[0].0, "o": agents[1].0 }));
        let feed = game.with(session["token"].as_str().expect("a token"));
        let mut sender = Sender::new("qf2");
        let events = [sender.started(), sender.score(1)];
        let session = id(&session["session"]);
        feed.push(&session, &events).expect(200);
        receiver.wait_messages(0, 100);
        OnAir { service, receiver, agents, feed, session, sender }
    }

    /// From now on the platform takes nothing: the goodbye to it takes a while.
    fn stall(&self) {
        self.receiver.behave(|b| b.stall = true);
        let queued =
            || self.service.admin.get("/v1/streams").expect(200)["items"][0]["destinations"][0]["queueMs"].as_u64();
        wait_until("the queue to grow", PATIENCE, || queued().filter(|ms| *ms > 1_000));
    }

    /// Whether another event is acknowledged.
    fn feeds(&mut self) -> bool {
        let (path, seq) = (format!("/v1/sessions/{}/events", self.session), self.sender.seq);
        let body = json!([self.sender.score(seq)]).to_string();
        let answer = self.feed.try_call("POST", &path, &["Content-Type: application/json"], body.as_bytes());
        answer.is_ok_and(|answer| answer.status == 200)
    }
}

#[test]
fn on_a_server_the_next_service_begins_when_the_last_one_has_ended_and_knows_all_that_it_acknowledged() {
    let (server, dir) = (Postgres::shared(), TempDir::new("next"));
    let url = database(&server);
    let mut on_air = OnAir::on("", &[("AGENTCAST_DATABASE", &url)]);
    on_air.stall();
    let mut next = Program::start(serve(dir.path()).env("AGENTCAST_DATABASE", &url));
    next.wait_for("another one works on this database; waiting for it to end");
    on_air.service.program().signal(libc::SIGTERM);
    on_air.service.program().wait_for("agentcast serve: ending");
    let (mut acknowledged, mut late) = (on_air.sender.seq, 0);
    while on_air.feeds() {
        assert!(!next.said().contains("http://"), "both serve:\n{}", on_air.service.said());
        (acknowledged, late) = (on_air.sender.seq, late + 1);
    }
    assert!(late > 1, "calls are answered while the goodbye waits for the platform");
    let line = next.wait_for("agentcast serve: http://");
    assert!(on_air.service.said().contains("agentcast serve: stopped"), "{}", on_air.service.said());
    let address = line.split("http://").nth(1).and_then(|a| a.split('/').next()).unwrap().to_owned();
    let feed = Client { address, ..on_air.feed.clone() };
    let state = feed.get(&format!("/v1/sessions/{}/state", on_air.session)).expect(200);
    assert_eq!(state["seq"].as_u64(), Some(acknowledged), "{state}");
    assert_eq!(next.stop(libc::SIGTERM).code(), Some(0), "{}", next.said());
}

#[test]
fn a_service_whose_database_another_one_works_on_ends_at_once_also_while_it_says_goodbye() {
    let server = Postgres::shared();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for ending in [false, true] {
        let url = database(&server);
        let mut on_air = OnAir::on("", &[("AGENTCAST_DATABASE", &url)]);
        if ending {
            on_air.stall();
            on_air.service.program().signal(libc::SIGTERM);
            on_air.service.program().wait_for("agentcast serve: ending");
        }
        let _other = runtime.block_on(async {
            let mut raw = sqlx::AnyConnection::connect(&url).await.unwrap();
            let url = SecretString::from(url.as_str());
            let cut = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = \
                       (SELECT oid FROM pg_database WHERE datname = current_database())";
            loop {
                raw.execute(cut).await.unwrap();
                if let Some(hold) = Hold::take(&url).await.unwrap() {
                    break hold;
                }
            }
        });
        on_air.service.program().wait_for("ended at once: another agentcast serve works on this database now");
        let said = on_air.service.kill();
        assert!(!said.contains("agentcast serve: stopped"), "{said}");
    }
}

#[test]
fn sigterm_says_goodbye_to_the_platform_and_ends_with_code_0() {
    let mut on_air = OnAir::new("");
    let address = on_air.service.address.clone();
    on_air.service.stop();
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
    let ended = |c: &[Connection]| c.first().is_some_and(|c| c.closed);
    assert!(on_air.receiver.wait(PATIENCE, ended));
    let connection = &on_air.receiver.connections()[0];
    assert!(connection.unpublished && connection.deleted, "no graceful end of the stream");
    assert_eq!(connection.faults, [""; 0]);
    // It is still wanted: the next start brings it back by itself.
    on_air.service.again();
    on_air.receiver.wait_messages(1, 60);
    on_air.service.stop();
}

/// Waits for a line with all of these words.
fn line_with(program: &Program, words: &[&str]) -> String {
    wait_until(&words.join(" … "), PATIENCE, || {
        program.said().lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
    })
}

#[test]
fn lines_of_destinations_and_encoders_name_stream_and_agent() {
    let mut on_air = OnAir::new("");
    let (agent, destination) = &on_air.agents[1];
    let switch = |on: bool| {
        let path = format!("/v1/agents/{agent}/streaming");
        on_air.service.admin.put(&path, &json!({ "enabled": on })).expect(200)
    };
    switch(true);
    on_air.receiver.wait_messages(1, 60);
    let streams = on_air.service.admin.get("/v1/streams").expect(200);
    for stream in streams["items"].as_array().unwrap() {
        let (id, agent) = (stream["id"].as_str().unwrap(), stream["agentId"].as_str().unwrap());
        let (_, destination) = on_air.agents.iter().find(|(id, _)| id == agent).unwrap();
        line_with(on_air.service.program(), &[": live", id, agent, destination]);
    }
    assert_eq!(streams["items"].as_array().map(Vec::len), Some(2));
    line_with(on_air.service.program(), &["video encoder: ", "str_", &on_air.agents[0].0]);
    // What the destination's thread says later, too.
    on_air.receiver.behave(|b| b.stall = true);
    line_with(on_air.service.program(), &["WARN", "next attempt in", agent, destination]);
    on_air.receiver.behave(|b| b.stall = false);
    on_air.service.stop();
}

#[test]
fn stream_keys_that_do_not_open_are_said_at_the_start_and_with_each_destination() {
    let mut on_air = OnAir::new("");
    let (agent, destination) = on_air.agents[1].clone();
    let admin = &on_air.service.admin;
    admin.delete(&format!("/v1/destinations/{destination}/key")).expect(204);
    admin.put(&format!("/v1/agents/{agent}/streaming"), &json!({ "enabled": true })).expect(200);
    let said = line_with(on_air.service.program(), &["WARN", "needs attention: no stream key is set", &agent]);
    assert!(said.contains(&destination) && said.contains("str_"), "{said}");
    on_air.service.stop();
    let (agent, destination) = &on_air.agents[0];
    let mut command = serve(on_air.service.dir.path());
    command.env("AGENTCAST_CONFIG", on_air.service.dir.path().join("agentcast.toml"));
    command.env("STREAMING_ENABLED", "true").env("STREAM_KEY_ENCRYPTION_KEY", KEK.replace('b', "0"));
    let mut program = Program::start(&mut command);
    let said = program.wait_for("1 of 1 stored stream keys do not open");
    assert!(said.contains("STREAM_KEY_ENCRYPTION_KEY lacks what sealed them (k"), "{said}");
    line_with(&program, &["WARN", "needs attention: its stream key does not open", agent, destination, "str_"]);
    assert_eq!(program.stop(libc::SIGTERM).code(), Some(0));
    let again = program.said().matches("its stream key does not open").count();
    assert_eq!(again, 1, "once, not with every look: {}", program.said());
}

#[test]
fn a_rotation_while_the_service_still_seals_by_the_old_key_says_so_and_takes_none_away() {
    let dir = TempDir::new("behind");
    let both = format!("{},{KEK}", KEK.replace('b', "0"));
    let rotate =
        || ends(agentcast().args(["key", "rotate"]).env("AGENTCAST_DATA_DIR", dir.path()).env(KEK_NAME, &both));
    let mut old = Program::start(&mut serve(dir.path()));
    old.wait_for("agentcast serve: http://");
    let (code, said) = rotate();
    assert!(code == Some(1) && said.contains("The service last started with key k"), "{said}");
    assert!(said.contains("then run this again") && !said.contains("may lose them"), "{said}");
    assert_eq!(old.stop(libc::SIGTERM).code(), Some(0));
    let mut new = Program::start(serve(dir.path()).env(KEK_NAME, &both));
    new.wait_for("agentcast serve: http://");
    let (code, said) = rotate();
    assert!(code == Some(0) && said.contains("STREAM_KEY_ENCRYPTION_KEY may lose them"), "{said}");
    assert_eq!(new.stop(libc::SIGTERM).code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once_while_a_platform_takes_nothing() {
    let mut on_air = OnAir::new("");
    on_air.stall();
    on_air.service.program().signal(libc::SIGTERM);
    on_air.service.program().wait_for("agentcast serve: ending");
    on_air.service.program().signal(libc::SIGTERM);
    on_air.service.program().wait_for("ended at once: asked twice");
    let said = on_air.service.kill();
    assert!(!said.contains("agentcast serve: stopped"), "{said}");
}

/// Whether a page of this origin may call the API.
fn allowed(service: &Service, origin: &str) -> bool {
    let answer = service.admin.call("GET", "/v1/whoami", &[&format!("Origin: {origin}")], b"");
    answer.header("access-control-allow-origin") == Some(origin)
}

#[test]
fn settings_are_read_again_at_sighup_and_when_the_file_changes_and_a_bad_file_changes_nothing() {
    let toml = |origin: &str| format!("[http]\ncors_origins = [\"{origin}\"]\n");
    let mut service = Service::start(Setup { toml: toml("https://one.example.com"), env: Vec::new() });
    let path = service.dir.path().join("agentcast.toml");
    assert!(allowed(&service, "https://one.example.com") && !allowed(&service, "https://two.example.com"));

    // By itself, in one step as editors and deployments do it.
    let new = service.dir.path().join("new.toml");
    std::fs::write(&new, toml("https://two.example.com")).unwrap();
    std::fs::rename(&new, &path).unwrap();
    wait_until("the new origin", PATIENCE, || allowed(&service, "https://two.example.com").then_some(()));
    assert!(!allowed(&service, "https://one.example.com"));
    service.program().wait_for("http.cors_origins: https://one.example.com → https://two.example.com");

    // One that is wrong says where, and what was good stays.
    std::fs::write(&path, "[http]\ncors_origins = [\"https://three.example.com\"]\nframes = 1\n").unwrap();
    service.program().signal(libc::SIGHUP);
    let line = service.program().wait_for("the settings stay as they were");
    assert!(line.contains("agentcast.toml line 3: there is no setting http.frames"), "{line}");
    assert!(allowed(&service, "https://two.example.com") && !allowed(&service, "https://three.example.com"));

    // What cannot change waits for a restart, and the rest of the file is applied.
    let more = format!("streaming_jwt_secret = \"{}\"\n{}", "x".repeat(40), toml("https://four.example.com"));
    std::fs::write(
        &path,
        format!("data_dir = \"elsewhere\"\n{more}[streaming]\nover = \"31s\"\npreset = \"medium\"\n"),
    )
    .unwrap();
    service.program().signal(libc::SIGHUP);
    wait_until("the newest origin", PATIENCE, || allowed(&service, "https://four.example.com").then_some(()));
    service.program().wait_for("streaming.over: 45s → 31s");
    // The environment names folder and secret already, and goes over the file.
    let line = service.program().wait_for("settings that need a restart have changed");
    assert!(line.ends_with("have changed: streaming.preset"), "{line}");
    service.stop();
}

#[test]
fn systemd_is_told_when_it_is_ready_and_when_it_ends() {
    let dir = TempDir::new("notify");
    let path = dir.path().join("socket");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut bytes = [0; 64];
        let got = socket.recv(&mut bytes).expect("it tells");
        String::from_utf8_lossy(&bytes[..got]).into_owned()
    };
    let mut program = Program::start(serve(dir.path()).env("NOTIFY_SOCKET", &path));
    assert_eq!(heard(), "READY=1");
    // The log has a thread of its own.
    program.wait_for("agentcast serve: http://");
    program.signal(libc::SIGTERM);
    assert_eq!(heard(), "STOPPING=1");
    assert_eq!(program.end(PATIENCE).code(), Some(0));
}

#[test]
fn every_line_of_a_json_log_is_an_object() {
    let dir = TempDir::new("json");
    let mut program = Program::start(serve(dir.path()).args(["--log-format", "json", "--log-level", "debug"]));
    program.wait_for("agentcast serve: http://");
    program.wait_for("no key:");
    assert_eq!(program.stop(libc::SIGTERM).code(), Some(0), "{}", program.said());
    let said = program.said();
    let lines: Vec<Value> = said
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let message = |words: &str| lines.iter().any(|line| line["message"].as_str().is_some_and(|m| m.contains(words)));
    assert!(message("agentcast serve: http://") && message("agentcast serve: stopped"), "{said}");
    assert!(lines.iter().all(|line| line["level"].is_string() && line["timestamp"].is_string()));
}

#[test]
fn no_secret_of_the_service_is_ever_said() {
    let dir = TempDir::new("secrets");
    let mut command = serve(&dir.path().join("data"));
    command.args(["-vvv"]).env("AGENTCAST_LOG", "trace");
    command.env("LIVEKIT_URL", "ws://127.0.0.1:1").env("LIVEKIT_API_KEY", "APIcanary");
    command.env("LIVEKIT_API_SECRET", LIVEKIT_SECRET);
    let mut program = Program::start(&mut command);
    let line = program.wait_for("agentcast serve: http://");
    let address = line.split("http://").nth(1).and_then(|a| a.split('/').next()).unwrap().to_owned();
    let status = support::http::get(&address, "/status.json", &[]);
    assert!(status.starts_with("HTTP/1.1 200"), "{status}");
    assert!(status.contains("x-request-id: ") && status.contains("nosniff"), "as every other answer: {status}");
    let lines = command_lines(program.pid()).join("\n");
    assert!(lines.contains("serve"), "{lines}");
    program.signal(libc::SIGHUP);
    program.wait_for("settings: read again, nothing has changed");
    assert_eq!(program.stop(libc::SIGTERM).code(), Some(0), "{}", program.said());
    let mut said = program.said() + &status + &lines;
    assert!(said.contains(" TRACE ") && said.contains(" DEBUG "), "trace says more than {said}");

    // A database that is not there, and one that is none.
    for url in
        [format!("postgres://cast:{PASSWORD}@127.0.0.1:1/cast"), format!("mysql://cast:{PASSWORD}@127.0.0.1/cast")]
    {
        let mut command = serve(&dir.path().join("other"));
        let (code, words) = ends(command.args(["-vvv"]).env("AGENTCAST_DATABASE", url));
        assert!(code.is_some_and(|code| code > 0), "{words}");
        said += &words;
    }
    for secret in [KEK, JWT_SECRET, LIVEKIT_SECRET, PASSWORD, "APIcanary"] {
        assert!(!said.contains(secret), "{secret} is told:\n{said}");
    }
}
