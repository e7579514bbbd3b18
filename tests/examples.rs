//! The README's ten lines and the scripts of `examples/`, against the running service: real engines, real games, a real
//! Python.

mod support;

use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use support::program::{Program, file, wait_until};
use support::service::{Client, Service, Setup};

/// A game between machines on a busy machine.
const GAME: Duration = Duration::from_secs(120);

struct House {
    service: Service,
    operator: Client,
    game: Client,
    agent: String,
}

impl House {
    fn new() -> House {
        let service = Service::start(Setup::default());
        let (tenant, operator) = service.tenant("Arena", "operator");
        let game = service.key(&tenant, "game");
        let agent = operator.post("/v1/agents", &json!({ "name": "Nightjar" })).expect(201);
        let agent = agent["id"].as_str().expect("an id").to_owned();
        House { service, operator, game, agent }
    }

    /// A script with what it needs to find the service.
    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(if name.ends_with(".py") { "python3" } else { "sh" });
        command.arg(file("examples").join(name)).env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("AGENTCAST_URL", format!("http://{}", self.service.address)).env("AGENTCAST_KEY", &self.game.token);
        command.env("AGENT", &self.agent);
        command
    }

    /// What a viewer sees of the only match.
    fn state(&self) -> Value {
        let made = self.operator.get("/v1/matches").expect(200);
        let id = made["items"][0]["id"].as_str().expect("a match").to_owned();
        let watch = json!({ "scope": "watch", "matchId": id });
        let session = self.operator.post("/v1/sessions", &watch).expect(201);
        let viewer = self.operator.with(session["token"].as_str().expect("a token"));
        viewer.get(&format!("/v1/sessions/{}/state", session["session"]["id"].as_str().expect("an id"))).expect(200)
    }
}

#[test]
fn ten_lines_of_curl_and_of_python_put_the_match_of_the_readme_on() {
    for name in ["ten_lines.sh", "ten_lines.py"] {
        let house = House::new();
        let out = house.script(name).output().expect("it runs");
        let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{name}: {said}");
        assert!(!said.contains(&house.game.token), "{said}");
        let state = house.state().to_string();
        for wanted in ["Agent Open", "Nightjar", "Kraken", "The pin is real.", "Nd5"] {
            assert!(state.contains(wanted), "{name}: no {wanted} in {state}");
        }
    }
}

#[test]
fn a_game_between_two_engines_is_shown_as_it_is_played_also_over_a_restart_of_the_service() {
    let mut house = House::new();
    let mut command = house.script("chess_uci.py");
    command.args(["--base", "8", "--increment", "0", "--option", "black:Skill Level=0", "--leave-open", "--agent"]);
    command.arg(format!("white={}", house.agent)).env("PATH", "/usr/games:/usr/bin:/bin");
    let mut program = Program::start(&mut command);
    program.wait_for("3. ");
    let move_3 = wait_until("the third move to be shown", GAME, || {
        let state = house.state();
        state["board"]["phase"]["turn"].as_u64().filter(|turn| *turn >= 3).map(|_| state)
    });
    assert_eq!(move_3["board"]["sides"]["white"]["name"], "Stockfish 15.1", "{move_3}");
    assert!(move_3["board"]["sides"]["black"]["clock"]["ms"].as_u64().is_some_and(|ms| ms < 8_000), "{move_3}");
    // The game does not wait for the service, and the service misses nothing of it.
    house.service.kill();
    program.wait_for("10. ");
    // Another port: the script knows only the old one, so the service must come back there.
    let port = house.service.address.clone();
    house.service.again_on(&port);
    let status = program.end(GAME);
    assert!(status.success(), "{}", program.said());
    let last =
        program.said().lines().rfind(|line| line.contains("checkmate") || line.starts_with("1")).map(str::to_owned);
    let over = house.state();
    let reason = over["board"]["result"]["reason"].as_str().expect("a result").to_owned();
    assert!(last.is_some_and(|line| line.ends_with(&reason)), "{reason}: {}", program.said());
    assert!(!over["board"]["eval"].is_null() && over["thoughts"].as_object().is_some_and(|t| !t.is_empty()), "{over}");
}

/// The rules CLI where `.ci/livekit` puts it.
fn battlesnake() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cache"));
    let path = cache.join("agentcast/battlesnake-1.2.3/battlesnake");
    assert!(path.exists(), "{} is missing; run: .ci/setup test", path.display());
    path
}

#[test]
fn a_game_of_battlesnake_is_shown_turn_by_turn_to_its_winner() {
    let house = House::new();
    let mut command = house.script("battlesnake_live.py");
    command.args(["--bots", "4", "--pace", "30", "--leave-open", "--agent"]).arg(format!("Birch={}", house.agent));
    command.arg("--battlesnake").arg(battlesnake()).args(["--", "--seed", "7"]);
    let mut program = Program::start(&mut command);
    let early = wait_until("the fifth turn", GAME, || {
        let matches = house.operator.get("/v1/matches").expect(200);
        matches["items"].as_array().filter(|items| !items.is_empty())?;
        let state = house.state();
        state["board"]["phase"]["turn"].as_u64().filter(|turn| *turn >= 5).map(|_| state)
    });
    assert_eq!(early["board"]["sides"].as_object().map(|sides| sides.len()), Some(4), "{early}");
    let status = program.end(GAME);
    assert!(status.success(), "{}", program.said());
    let over = house.state();
    let winners = over["board"]["result"]["winners"].as_array().expect("a result").clone();
    let said = program.said();
    for winner in &winners {
        let name = over["board"]["sides"][winner.as_str().expect("an id")]["name"].as_str().expect("a name");
        assert!(said.contains(&format!("{name} wins")), "{name}: {said}");
    }
    assert!(!winners.is_empty() || said.contains("Draw"), "{said}");
}

#[test]
fn a_service_that_is_not_there_does_not_stop_the_game() {
    let mut command = Command::new("python3");
    command.arg(file("examples/chess_uci.py")).args(["--base", "5", "--increment", "0", "--most", "6"]);
    command
        .env("AGENTCAST_URL", "http://127.0.0.1:9")
        .env("AGENTCAST_KEY", "key_none.0")
        .env("PATH", "/usr/games:/usr/bin");
    let mut program = Program::start(command.env("PYTHONDONTWRITEBYTECODE", "1"));
    program.wait_for("the service cannot be reached");
    program.wait_for("stopped after 6 half-moves");
    // Nothing of it was taken, and that is said by the exit code.
    assert_eq!(program.end(GAME).code(), Some(1), "{}", program.said());
    assert!(!program.said().contains("key_none"), "{}", program.said());
}
