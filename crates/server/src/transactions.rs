//! Transactions in words. One may issue several tokens, and each of them needs its mac.

use std::sync::Arc;

use jeton_core::command::{Operation, Part, Transact};
use jeton_core::ids::{Mac, SecretDigest, TenantId};
use jeton_core::reply::{Done, Ran, Reply, Transacted};
use jeton_wire::pb::v1::operation_result::Response;
use jeton_wire::reply::{self, Kind};
use jeton_wire::{Failure, transact};

use crate::desk::{Desk, Issued, Worded};
use crate::events;
use crate::outbox::Issue;

/// What is kept of a transaction until it is answered.
#[derive(Debug)]
pub(crate) struct Parts {
    tenant: TenantId,
    then: Vec<Asked>,
    otherwise: Vec<Asked>,
}

#[derive(Debug)]
struct Asked {
    kind: Kind,
    /// Of the secret that the operation mints.
    digest: Option<SecretDigest>,
}

impl Asked {
    fn of(part: &Part) -> Self {
        let digest = match part {
            Part::CreateFamily(create) => Some(create.digest),
            Part::Rotate(rotate) => Some(rotate.successor),
            _ => None,
        };
        Self { kind: transact::kind(part), digest }
    }
}

impl Parts {
    /// Of a transaction; `None` of everything else.
    pub(crate) fn of(operation: &Operation, tenant: &TenantId) -> Option<Arc<Self>> {
        let Operation::Transact(wish) = operation else { return None };
        let Transact { then, otherwise, .. } = &**wish;
        let asked = |parts: &[Part]| parts.iter().map(Asked::of).collect();
        let (then, otherwise) = (asked(then), asked(otherwise));
        Some(Arc::new(Self { tenant: tenant.clone(), then, otherwise }))
    }

    fn branch(&self, held: bool) -> &[Asked] {
        if held { &self.then } else { &self.otherwise }
    }

    /// Writes the audit lines that its operations would have each.
    pub(crate) fn answered(&self, reply: &Reply) {
        if let Ok(Done::Transacted(done)) = &reply.outcome
            && let Ran::Through(answers) = &done.ran
        {
            answers.iter().for_each(|answer| events::answered(&self.tenant, answer));
        }
    }
}

/// The reply to a transaction in words.
pub(crate) fn word(desk: &Desk, parts: &Parts, reply: Reply) -> Result<Worded, Failure> {
    let (position, at) = (reply.position, reply.at);
    let done = match reply.outcome {
        Ok(Done::Transacted(done)) => *done,
        outcome => {
            let reply = Reply { position, at, outcome };
            return reply::mutation(Kind::Transact, reply, None).map(Worded::Done);
        }
    };
    let asked = parts.branch(done.unmet.is_none());
    let Some(macs) = macs(desk, &parts.tenant, asked, &done)? else {
        let outcome = Ok(Done::Transacted(Box::new(done)));
        return Ok(Worded::KeyUnknown(Reply { position, at, outcome }));
    };
    let kinds: Vec<Kind> = asked.iter().map(|asked| asked.kind).collect();
    let response: Response = transact::performed(position, done, &kinds, &macs)?;
    Ok(Worded::Done(response))
}

/// The macs of the tokens that were issued, one place for each operation. `None` if this node
/// doesn't know one of the keys yet.
fn macs(
    desk: &Desk,
    tenant: &TenantId,
    asked: &[Asked],
    done: &Transacted,
) -> Result<Option<Vec<Option<Mac>>>, Failure> {
    let Ran::Through(answers) = &done.ran else { return Ok(Some(Vec::new())) };
    let mut macs = Vec::with_capacity(answers.len());
    for (asked, answer) in asked.iter().zip(answers) {
        let issue = asked.digest.map(|digest| Issue { tenant: tenant.clone(), digest });
        macs.push(match desk.mac_for(issue.as_ref(), answer)? {
            Issued::Nothing => None,
            Issued::Mac(mac) => Some(mac),
            Issued::KeyUnknown => return Ok(None),
        });
    }
    Ok(Some(macs))
}
