//! The OpenAPI 3.1 document of the HTTP interface: from the descriptors for the API, by hand for
//! what is no part of it. `docs/openapi.json` is this, and `/openapi.json` serves it.

mod schema;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prost_reflect::MethodDescriptor;
use serde_json::{Map, Value, json};

pub(crate) use self::schema::Comments;
use self::schema::Schemas;
use super::json::DEADLINE_MS_DEFAULT;
use super::services;

/// `GET /openapi.json`.
pub(super) async fn serve() -> Response {
    ([(CONTENT_TYPE, "application/json")], document()).into_response()
}

/// The document, as text with a line for each member.
///
/// # Panics
/// Never: what it is made from was checked by the build.
#[must_use]
pub fn document() -> String {
    let mut schemas = Schemas::default();
    let mut paths = fixed_paths();
    let mut tags = Map::new();
    for (path, method) in services::methods() {
        let comments = Comments::of(&method.parent_file());
        let service = method.parent_service();
        tags.entry(service.name().to_owned()).or_insert_with(|| json!(comments.at(service.path())));
        paths.insert(path, json!({ "post": operation(&method, &comments, &mut schemas) }));
    }
    let tags: Vec<Value> = tags
        .into_iter()
        .map(|(name, description)| json!({ "name": name, "description": description }))
        .collect();
    schemas.insert("Problem", problem());
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Jeton",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A replicated store for OAuth refresh tokens and revocations",
            "description": "What holds for all operations: docs/reference/requests.md and \
                            docs/reference/http.md. 64-bit numbers are strings, bytes are base64. \
                            Refusals are data, with status 200.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:7401", "description": "jeton dev" }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas.into_value(),
            "parameters": { "Deadline": deadline() },
            "responses": { "Problem": {
                "description": "It failed: see reason, and docs/reference/requests.md.",
                "content": { "application/problem+json": { "schema": reference("Problem") } },
            } },
            "securitySchemes": { "client_secret_basic": { "type": "http", "scheme": "basic" } },
        },
    });
    let text = serde_json::to_string_pretty(&document).expect("plain values");
    text + "\n"
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn operation(method: &MethodDescriptor, comments: &Comments, schemas: &mut Schemas) -> Value {
    let service = method.parent_service();
    let request = schemas.message(&method.input());
    let response = schemas.message(&method.output());
    json!({
        "operationId": format!("{}_{}", service.name(), method.name()),
        "tags": [service.name()],
        "description": comments.at(method.path()),
        "parameters": [{ "$ref": "#/components/parameters/Deadline" }],
        "requestBody": {
            "required": true,
            "content": { "application/json": { "schema": request } },
        },
        "responses": {
            "200": {
                "description": "The answer; a refusal is one, too.",
                "content": { "application/json": { "schema": response } },
            },
            "default": { "$ref": "#/components/responses/Problem" },
        },
    })
}

fn deadline() -> Value {
    json!({
        "name": "Jeton-Deadline-Ms",
        "in": "header",
        "description": "How long the caller waits, in milliseconds.",
        "schema": {
            "type": "integer",
            "minimum": 1,
            "maximum": jeton_wire::decode::DEADLINE_MS_MAX,
            "default": DEADLINE_MS_DEFAULT,
        },
    })
}

/// RFC 9457.
fn problem() -> Value {
    json!({
        "type": "object",
        "description": "Problem details (RFC 9457).",
        "required": ["type", "title", "status", "detail", "reason", "notExecuted"],
        "properties": {
            "type": { "type": "string" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string", "description": "What was wrong and what to do." },
            "reason": { "type": "string", "description": "For programs; stable." },
            "notExecuted": {
                "type": "boolean",
                "description": "Whether it certainly did not happen, so that a retry is safe \
                                under any name.",
            },
            "retryAfterMs": { "type": "integer" },
            "violations": { "type": "array", "items": {
                "type": "object",
                "properties": {
                    "field": { "type": "string" },
                    "description": { "type": "string" },
                },
            } },
            "metadata": { "type": "object", "additionalProperties": { "type": "string" } },
        },
    })
}

fn fixed_paths() -> Map<String, Value> {
    let text = |description: &str| {
        let content = json!({ "text/plain": { "schema": { "type": "string" } } });
        json!({ "description": description, "content": content })
    };
    let get = |id: &str, words: &str, responses: Value| {
        let operation = json!({ "operationId": id, "description": words, "responses": responses });
        json!({ "get": operation })
    };
    let mut paths = Map::new();
    let live = json!({ "200": text("It answers.") });
    paths.insert(
        "/livez".to_owned(),
        get("livez", "Whether this process answers; needs no quorum.", live),
    );
    let ready = json!({ "200": text("It serves."), "503": text("It doesn't, and why.") });
    paths.insert(
        "/readyz".to_owned(),
        get("readyz", "Whether this node serves, with a quorum behind it.", ready),
    );
    let page = json!({ "200": text("The page.") });
    paths.insert("/metrics".to_owned(), get("metrics", "Metrics, for Prometheus.", page));
    let this = json!({ "200": {
        "description": "This document.",
        "content": { "application/json": { "schema": { "type": "object" } } },
    } });
    paths.insert(super::events::PATH.to_owned(), watched());
    paths.insert("/openapi.json".to_owned(), get("openapi", "This document.", this));
    for (name, done) in [
        ("revoke", json!({ "description": "Revoked, or never known." })),
        ("introspect", introspected()),
    ] {
        paths.insert(format!("/oauth2/{name}"), oauth(name, "", &done, json!([])));
        let tenant = json!([{
            "name": "tenant", "in": "path", "required": true, "schema": { "type": "string" },
        }]);
        paths.insert(
            format!("/t/{{tenant}}/oauth2/{name}"),
            oauth(name, "_in_tenant", &done, tenant),
        );
    }
    paths
}

/// The watch, as server-sent events.
fn watched() -> Value {
    let parameter = |name: &str, place: &str, schema: Value, words: &str| {
        let required = name == "tenant";
        json!({
            "name": name, "in": place, "required": required, "schema": schema,
            "description": words,
        })
    };
    let text = json!({ "type": "string" });
    let parameters = [
        parameter("tenant", "query", text.clone(), "Whose revocations."),
        parameter(
            "snapshot",
            "query",
            json!({ "type": "boolean", "default": false }),
            "Begin with all that is in force, unless a place to go on from is given.",
        ),
        parameter("from", "query", text.clone(), "The id of the event that was heard last."),
        parameter("Last-Event-ID", "header", text, "The same, as browsers send it; it wins."),
    ];
    json!({ "get": {
        "operationId": "watch",
        "description": "Revocations as they happen, as server-sent events: docs/reference/http.md.",
        "parameters": parameters,
        "responses": {
            "200": {
                "description": "Events: started, snapshot, revocation, complete, fresh, compacted, \
                                end.",
                "content": { "text/event-stream": { "schema": { "type": "string" } } },
            },
            "default": { "$ref": "#/components/responses/Problem" },
        },
    } })
}

/// RFC 7662 §2.2.
fn introspected() -> Value {
    let members = json!({
        "type": "object",
        "required": ["active"],
        "properties": {
            "active": { "type": "boolean" },
            "client_id": { "type": "string" },
            "sub": { "type": "string" },
            "exp": { "type": "integer", "description": "Seconds since 1970." },
            "iat": { "type": "integer", "description": "Seconds since 1970." },
            "token_type": { "type": "string" },
            "cnf": { "type": "object", "additionalProperties": { "type": "string" } },
            "jeton_tenant": { "type": "string" },
            "jeton_family": { "type": "string" },
            "jeton_generation": { "type": "string" },
            "jeton_family_exp": { "type": "integer", "description": "Seconds since 1970." },
            "jeton_position": { "type": "string" },
            "jeton_device": { "type": "string" },
        },
    });
    json!({
        "description": "What the token is; of one that is not active, nothing but that.",
        "content": { "application/json": { "schema": members } },
    })
}

fn oauth(name: &str, suffix: &str, done: &Value, mut parameters: Value) -> Value {
    let description = match name {
        "revoke" => "Token revocation, RFC 7009.",
        _ => "Token introspection, RFC 7662.",
    };
    if let Some(list) = parameters.as_array_mut() {
        list.push(json!({ "$ref": "#/components/parameters/Deadline" }));
    }
    let form = json!({
        "type": "object",
        "required": ["token"],
        "properties": {
            "token": { "type": "string" },
            "token_type_hint": { "type": "string" },
            "client_id": { "type": "string" },
            "client_secret": { "type": "string" },
        },
    });
    let error = json!({
        "description": "An error as in RFC 6749 section 5.2.",
        "content": { "application/json": { "schema": {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": { "type": "string" },
                "error_description": { "type": "string" },
            },
        } } },
    });
    json!({ "post": {
        "operationId": format!("oauth2_{name}{suffix}"),
        "description": description,
        "security": [{ "client_secret_basic": [] }, {}],
        "parameters": parameters,
        "requestBody": {
            "required": true,
            "content": { "application/x-www-form-urlencoded": { "schema": form } },
        },
        "responses": { "200": done, "default": error },
    } })
}
