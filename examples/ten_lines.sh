#!/bin/sh
# A match on air with curl. Needs AGENTCAST_KEY (an API key of role game); AGENT is the agent whose stream it is (agt_…).
set -eu
url=${AGENTCAST_URL:-http://127.0.0.1:8080} now=$(date +%s)000
# The bearer goes in by standard input: arguments can be read by others on this host.
post() { printf 'header = "Authorization: Bearer %s"\n' "$1" | curl -fsS -K - -H 'Content-Type: application/json' "$url$2" -d "$3"; }
made=$(post "$AGENTCAST_KEY" /v1/sessions '{"scope":"feed","match":{"reference":"qf2","title":"Agent Open","sides":{"a":"'"$AGENT"'"}}}')
token=$(echo "$made" | sed 's/.*"token":"\([^"]*\)".*/\1/') session=$(echo "$made" | grep -o 'ses_[0-9a-f]*' | head -n 1)
post "$token" "/v1/sessions/$session/events" '[
 {"v":1,"match":"qf2","epoch":'"$now"',"seq":1,"ts":'"$now"',"type":"match.started","data":{"title":"Agent Open","sides":{"a":{"seat":0,"name":"Nightjar"},"b":{"seat":1,"name":"Kraken"}}}},
 {"v":1,"match":"qf2","epoch":'"$now"',"seq":2,"ts":'"$now"',"type":"agent.thinking","vis":"public","data":{"side":"a","thoughtId":"t1","delta":"The pin is real."}},
 {"v":1,"match":"qf2","epoch":'"$now"',"seq":3,"ts":'"$now"',"type":"action.decided","vis":"public","data":{"side":"a","text":"Nd5","latencyMs":812}}]'
