"""What an authorization server's or resource server's OAuth library does with a node.

Run by scripts/try-oauth. Authlib speaks RFC 7009 and RFC 7662 here, unchanged.
"""

import json
import os
import subprocess

from authlib.integrations.requests_client import OAuth2Session

# Authlib wants TLS otherwise; this is a node on loopback.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
BASE = f"http://{os.environ['JETON_ENDPOINTS']}"
INACTIVE = {"active": False}


def jeton(*args):
    """A command of the jeton binary, as JSON."""
    command = [os.environ["JETON"], *args, "-o", "json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def session(secret, method):
    """A client that authenticates in this way."""
    return OAuth2Session(
        "dev",
        secret,
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
    )


def introspect(client, token, path="/oauth2/introspect"):
    answer = client.introspect_token(f"{BASE}{path}", token=token, token_type_hint="refresh_token")
    assert answer.status_code == 200, (answer.status_code, answer.text)
    assert answer.headers["Cache-Control"] == "no-store"
    assert token not in answer.text
    return answer.json()


def revoke(client, token, path="/oauth2/revoke"):
    answer = client.revoke_token(f"{BASE}{path}", token=token, token_type_hint="refresh_token")
    assert (answer.status_code, answer.text) == (200, ""), (answer.status_code, answer.text)


for method in ("client_secret_basic", "client_secret_post"):
    client = session(os.environ["SECRET"], method)
    token = jeton("token", "create", "--subject", "alice", "--client", "web")["token"]
    told = introspect(client, token)
    assert told["active"] is True and told["token_type"] == "refresh_token", told
    assert (told["sub"], told["client_id"]) == ("alice", "web"), told
    assert told["iat"] < told["exp"], told

    rotated = jeton("token", "rotate", "--client", "web", token)["token"]
    assert introspect(client, token) == INACTIVE, "a spent token is not active"
    assert introspect(client, rotated, "/t/default/oauth2/introspect")["jeton_generation"] == "1"

    # A spent token revokes its family, as any genuine one does; a retry succeeds.
    revoke(client, token)
    assert introspect(client, rotated) == INACTIVE
    revoke(client, rotated, "/t/default/oauth2/revoke")
    revoke(client, "never-issued")
    assert introspect(client, "never-issued") == INACTIVE

    stranger = session("guessed", method)
    answer = stranger.revoke_token(f"{BASE}/oauth2/revoke", token=rotated)
    assert answer.status_code == 401, (answer.status_code, answer.text)
    assert answer.json()["error"] == "invalid_client"
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")

print("Authlib introspects and revokes, authenticated in both ways")
