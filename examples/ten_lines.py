"""A match on air with Python's standard library. Needs AGENTCAST_KEY (role game) and AGENT (agt_…)."""
import json, os, time, urllib.request

def post(path, bearer, body):
    url = os.environ.get("AGENTCAST_URL", "http://127.0.0.1:8080") + path
    headers = {"Authorization": "Bearer " + bearer, "Content-Type": "application/json"}
    return json.load(urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=10))

made = post("/v1/sessions", os.environ["AGENTCAST_KEY"], {"scope": "feed", "match": {
    "reference": "qf2", "title": "Agent Open", "sides": {"a": os.environ["AGENT"]}}})
now = int(time.time() * 1000)
event = lambda seq, kind, data, **more: {"v": 1, "match": "qf2", "epoch": now, "seq": seq, "ts": now, "type": kind, "data": data, **more}
print(post(f"/v1/sessions/{made['session']['id']}/events", made["token"], [
    event(1, "match.started", {"title": "Agent Open", "sides": {"a": {"seat": 0, "name": "Nightjar"}, "b": {"seat": 1, "name": "Kraken"}}}),
    event(2, "agent.thinking", {"side": "a", "thoughtId": "t1", "delta": "The pin is real."}, vis="public"),
    event(3, "action.decided", {"side": "a", "text": "Nd5", "latencyMs": 812}, vis="public")]))
