//! Transactions on the wire, both ways. Their operations are the requests of the other services
//! without tenant and name, and their answers those services' responses.

use bytes::Bytes;
use jeton_core::command::{Command, Comparison, Operation, Part, RequestName, Transact};
use jeton_core::ids::{Fence, KeyDigest, Mac, Position, RecordKind, TenantId};
use jeton_core::reply::{self, Refusal};

use crate::answer::{self, Answer, Answered};
use crate::check::{self, Violation};
use crate::decode::{self, Asked, Write, name, write};
use crate::encode::{self, request_name};
use crate::failure::Failure;
use crate::pb::v1;
use crate::pb::v1::operation::Request;
use crate::pb::v1::operation_result::Response;
use crate::pb::v1::transact_answer::Answer as PartAnswer;
use crate::pb::v1::transact_operation::Operation as PartRequest;
use crate::reply::{Kind, bug, mutation};
use crate::{refusal, session};

/// What a transaction came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Transacted {
    /// The first comparison that did not hold: `otherwise` was to run. `None`: all of them held.
    pub unmet: Option<u32>,
    /// How far its operations came.
    pub ran: Ran,
}

/// How far the operations of a transaction came.
#[derive(Debug, Clone, PartialEq)]
pub enum Ran {
    /// All of them took effect. Their answers, in order.
    Through(Vec<Answer>),
    /// One was refused, or its rotation was superseded, and none took effect.
    Stopped {
        /// Its place among the operations of its branch.
        operation: u32,
        /// Its answer.
        answer: Box<Answer>,
    },
}

/// Which response an operation of a transaction is answered with.
#[must_use]
pub fn kind(part: &Part) -> Kind {
    match part {
        Part::PutRecord(_) => Kind::PutRecord,
        Part::DeleteRecord(_) => Kind::DeleteRecord,
        Part::DeleteRecords(_) => Kind::DeleteRecords,
        Part::Consume(_) => Kind::Consume,
        Part::SeenOnce(_) => Kind::SeenOnce,
        Part::CreateFamily(_) => Kind::CreateFamily,
        Part::Rotate(_) => Kind::Rotate,
        Part::Touch(_) => Kind::Touch,
        Part::UpdateFamily(_) => Kind::UpdateFamily,
        Part::RevokeFamily(_) => Kind::RevokeFamily,
        Part::CreateSession(_) => Kind::Session(session::Kind::Create),
        Part::TouchSession(_) => Kind::Session(session::Kind::Touch),
        Part::EndSession(_) => Kind::Session(session::Kind::End),
    }
}

/// Does something with all kinds of operations that can be part of a transaction.
macro_rules! all_parts {
    ($with:ident) => {
        $with! {
            PutRecord "put_record", DeleteRecord "delete_record", DeleteRecords "delete_records",
            Consume "consume", SeenOnce "seen_once", CreateFamily "create_family",
            Rotate "rotate", Touch "touch", UpdateFamily "update_family",
            RevokeFamily "revoke_family", CreateSession "create_session",
            TouchSession "touch_session", EndSession "end_session"
        }
    };
}

macro_rules! conversions {
    ($($kind:ident $name:literal),*) => {
        /// The request of an operation, as one of its own with the transaction's tenant and name,
        /// and its field's name.
        fn alone(
            part: PartRequest,
            tenant: &TenantId,
            name: RequestName,
        ) -> (&'static str, Result<Request, Violation>) {
            match part {
                $(PartRequest::$kind(mut r) => {
                    let set = if !r.tenant.is_empty() {
                        Some("tenant")
                    } else {
                        r.request.as_ref().map(|_| "request")
                    };
                    if let Some(field) = set {
                        let problem = "is set: leave it out, the transaction's is meant";
                        return ($name, Err(Violation::new(field, problem)));
                    }
                    r.tenant = tenant.as_str().to_owned();
                    r.request = Some(request_name(name));
                    ($name, Ok(Request::$kind(r)))
                })*
            }
        }

        /// The request of an operation of its own, as part of a transaction.
        fn inside(request: Request) -> Option<PartRequest> {
            Some(match request {
                $(Request::$kind(mut r) => {
                    r.tenant.clear();
                    r.request = None;
                    PartRequest::$kind(r)
                })*
                _ => return None,
            })
        }

        /// A response, as part of a transaction's.
        fn part_answer(response: Response) -> Option<PartAnswer> {
            Some(match response {
                $(Response::$kind(r) => PartAnswer::$kind(r),)*
                _ => return None,
            })
        }

        /// Part of a transaction's response, as one of its own.
        fn alone_answer(part: PartAnswer) -> Response {
            match part {
                $(PartAnswer::$kind(r) => Response::$kind(r),)*
            }
        }
    };
}
all_parts!(conversions);

pub(crate) fn decode(r: v1::TransactRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    let compare = r.compare.into_iter().enumerate();
    let compare = compare.map(|(at, it)| comparison(at, it)).collect::<Result<_, _>>()?;
    let mut part_macs = Vec::with_capacity(r.then.len() + r.otherwise.len());
    let mut branch = |name: &str, parts: Vec<v1::TransactOperation>| {
        let parts = parts.into_iter().enumerate();
        let parts = parts.map(|(at, it)| {
            let (part, mac) = part(&format!("{name}[{at}]"), it, &tenant, request)?;
            part_macs.push(mac);
            Ok(part)
        });
        parts.collect::<Result<Vec<_>, Violation>>()
    };
    let (then, otherwise) = (branch("then", r.then)?, branch("otherwise", r.otherwise)?);
    let wish = Transact { compare, then, otherwise };
    match wish.check() {
        Ok(()) => {}
        Err(Refusal::Invalid { field, problem }) => return Err(Violation::new(&field, &*problem)),
        Err(other) => return Err(Violation::new("then", refusal::message(&other))),
    }
    let write = write(tenant, request, Operation::Transact(Box::new(wish)), None);
    Ok(Write { part_macs, ..write })
}

fn comparison(at: usize, it: v1::Comparison) -> Result<Comparison, Violation> {
    use v1::comparison::Holds;
    let path = |name: &str| format!("compare[{at}].{name}");
    let record = |name: &str, kind: &str, key: &[u8]| {
        let field = path(&format!("{name}.kind"));
        let kind = RecordKind::new(kind).map_err(|e| Violation::new(&field, e.to_string()))?;
        let key = check::key_digest(&path(&format!("{name}.key")), key)?;
        Ok::<_, Violation>((kind, key))
    };
    Ok(match check::required(&path("holds"), it.holds)? {
        Holds::RecordVersion(it) => {
            let (kind, key) = record("record_version", &it.kind, &it.key)?;
            Comparison::RecordVersion { kind, key, version: it.version }
        }
        Holds::RecordExists(it) => {
            let (kind, key) = record("record_exists", &it.kind, &it.key)?;
            Comparison::RecordExists { kind, key }
        }
        Holds::RecordAbsent(it) => {
            let (kind, key) = record("record_absent", &it.kind, &it.key)?;
            Comparison::RecordAbsent { kind, key }
        }
        Holds::FamilyAlive(family) => {
            Comparison::FamilyAlive { family: check::family(&path("family_alive"), &family)? }
        }
        Holds::LockHeld(it) => Comparison::LockHeld {
            lock: check::lock(&path("lock_held.lock"), &it.lock)?,
            fence: Fence(it.fence),
        },
    })
}

fn part(
    path: &str,
    it: v1::TransactOperation,
    tenant: &TenantId,
    name: RequestName,
) -> Result<(Part, Option<Mac>), Violation> {
    let operation = check::required(&format!("{path}.operation"), it.operation)?;
    let (field, request) = alone(operation, tenant, name);
    let at = |violation: Violation| {
        let field = format!("{path}.{field}.{}", violation.field);
        Violation::new(&field, violation.description)
    };
    let Asked::Write(write) =
        request.and_then(|request| decode::operation(Some(request))).map_err(at)?
    else {
        return Err(at(Violation::new("operation", "is a read: send it as a call of its own")));
    };
    let Write { command, mac, .. } = write;
    let part = Part::try_from(command.operation);
    Ok((part.map_err(|no| at(Violation::new("operation", no.to_string())))?, mac))
}

/// See [`Transact`]. `macs` are those of the native tokens that its operations present, one place
/// for each of them. `None` if a name is missing.
#[must_use]
pub fn request(
    tenant: &TenantId,
    name: RequestName,
    wish: &Transact,
    macs: &[Option<Mac>],
) -> Option<v1::TransactRequest> {
    let mut macs = macs.iter().copied().chain(std::iter::repeat(None));
    let mut branch = |parts: &[Part]| {
        let parts = parts.iter().map(|part| {
            let (tenant, request) = (Some(tenant.clone()), Some(name));
            let command = Command { tenant, request, operation: part.clone().into() };
            let write = Write { command, mac: macs.next().flatten(), part_macs: Vec::new() };
            let operation = inside(encode::operation(&Asked::Write(write))?)?;
            Some(v1::TransactOperation { operation: Some(operation) })
        });
        parts.collect::<Option<Vec<_>>>()
    };
    Some(v1::TransactRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        compare: wish.compare.iter().map(compared).collect(),
        then: branch(&wish.then)?,
        otherwise: branch(&wish.otherwise)?,
    })
}

fn compared(comparison: &Comparison) -> v1::Comparison {
    use v1::comparison::Holds;
    let record = |kind: &RecordKind, key: &KeyDigest| {
        let kind = kind.as_str().to_owned();
        v1::RecordKey { kind, key: Bytes::copy_from_slice(&key.0) }
    };
    let holds = match comparison {
        Comparison::RecordVersion { kind, key, version } => {
            let v1::RecordKey { kind, key } = record(kind, key);
            Holds::RecordVersion(v1::RecordAtVersion { kind, key, version: *version })
        }
        Comparison::RecordExists { kind, key } => Holds::RecordExists(record(kind, key)),
        Comparison::RecordAbsent { kind, key } => Holds::RecordAbsent(record(kind, key)),
        Comparison::FamilyAlive { family } => Holds::FamilyAlive(Bytes::copy_from_slice(&family.0)),
        Comparison::LockHeld { lock, fence } => {
            let (lock, fence) = (lock.as_str().to_owned(), fence.0);
            Holds::LockHeld(v1::HeldLock { lock, fence })
        }
    };
    v1::Comparison { holds: Some(holds) }
}

/// The response to a transaction that was judged. `kinds` are those of the operations of the branch
/// that was to run, `macs` those of the tokens that they issue: of an operation that was refused
/// there is none.
///
/// # Errors
/// [`Failure`] if the reply does not fit, which is a bug.
pub fn performed(
    position: Position,
    done: reply::Transacted,
    kinds: &[Kind],
    macs: &[Option<Mac>],
) -> Result<Response, Failure> {
    use v1::transact_response::Outcome;
    let worded = |at: usize, answer, mac: Option<&Mac>| {
        let kind = kinds.get(at).ok_or_else(|| bug("more answers than operations"))?;
        let answer = part_answer(mutation(*kind, answer, mac)?);
        let answer = answer.ok_or_else(|| bug("the reply does not fit the request"))?;
        Ok::<_, Failure>(v1::TransactAnswer { answer: Some(answer) })
    };
    let outcome = match done.ran {
        reply::Ran::Through(answers) => {
            let answers = answers.into_iter().enumerate();
            let answers = answers
                .map(|(at, answer)| worded(at, answer, macs.get(at).and_then(Option::as_ref)));
            Outcome::Done(v1::Transacted { answers: answers.collect::<Result<_, _>>()? })
        }
        reply::Ran::Stopped { operation, answer } => {
            let answer = Some(worded(operation as usize, *answer, None)?);
            Outcome::Stopped(v1::TransactionStopped { operation, answer })
        }
    };
    let (position, unmet, outcome) = (position.0, done.unmet, Some(outcome));
    Ok(Response::Transact(v1::TransactResponse { position, unmet, outcome }))
}

/// The response to a transaction that was refused as a whole.
pub(crate) fn refused(position: u64, refusal: v1::Refusal) -> Response {
    let outcome = Some(v1::transact_response::Outcome::Refusal(refusal));
    Response::Transact(v1::TransactResponse { position, unmet: None, outcome })
}

/// What a transaction came to.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn transacted(r: v1::TransactResponse) -> Result<Answered<Transacted>, Violation> {
    use v1::transact_response::Outcome;
    let one = |answer: Option<v1::TransactAnswer>| {
        let answer = check::required("answer", answer.and_then(|it| it.answer))?;
        answer::response(alone_answer(answer))
    };
    let ran = match check::required("outcome", r.outcome)? {
        Outcome::Done(done) => {
            let answers = done.answers.into_iter().map(|it| one(Some(it)));
            Ok(Ran::Through(answers.collect::<Result<_, _>>()?))
        }
        Outcome::Stopped(stopped) => Ok(Ran::Stopped {
            operation: stopped.operation,
            answer: Box::new(one(stopped.answer)?),
        }),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    let outcome = ran.map(|ran| Transacted { unmet: r.unmet, ran });
    Ok(Answered { position: Position(r.position), outcome })
}
