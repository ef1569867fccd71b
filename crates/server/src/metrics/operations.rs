//! What operations came to: counted as their answers leave, on the way of every one of them. Two
//! additions to a cell, no lock, no allocation; failures, which are rare, go to a [`Tally`].

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use jeton_wire::pb::v1;
use jeton_wire::pb::v1::operation_result::Response;
use jeton_wire::pb::v1::refusal::Code;
use jeton_wire::pb::v1::transact_answer::Answer as PartAnswer;

use super::list;
use super::page::Page;
use super::tally::Tally;

/// Outcomes that are told apart: 0 is success, others are refusals' codes. Codes from here on
/// share the last cell.
const OUTCOMES: usize = 96;

/// The refusal of a response whose outcome is a `oneof`.
macro_rules! chosen {
    ($response:ident, $outcome:ident) => {
        match &$response.outcome {
            Some(v1::$outcome::Outcome::Refusal(refusal)) => Some(refusal),
            _ => None,
        }
    };
}

macro_rules! operations {
    ($( $kind:ident = $name:literal, $response:ident => $refusal:expr; )*) => {
        #[derive(Clone, Copy)]
        enum Place { $($kind,)* }

        /// Names of all kinds, as labels.
        const NAMES: &[&str] = &[$($name),*];

        /// Kind and refusal of an answer; `None` of a failure.
        fn told(response: &Response) -> Option<(Place, Option<&v1::Refusal>)> {
            match response {
                Response::Failure(_) => None,
                $( Response::$kind($response) => Some((Place::$kind, $refusal)), )*
            }
        }
    };
}

// A new kind of operation needs a line here: the label that it is counted under, and where its
// response holds the refusal.
operations! {
    Rotate = "rotate", r => chosen!(r, rotate_response);
    CreateFamily = "create_family", r => chosen!(r, create_family_response);
    Validate = "validate", r => chosen!(r, validate_response);
    Touch = "touch", r => r.refusal.as_ref();
    UpdateFamily = "update_family", r => r.refusal.as_ref();
    GetFamily = "get_family", r => chosen!(r, get_family_response);
    RevokeToken = "revoke_token", r => chosen!(r, revoke_token_response);
    RevokeFamily = "revoke_family", r => chosen!(r, revoke_family_response);
    RevokeWhere = "revoke_where", r => r.refusal.as_ref();
    GetRevocation = "get_revocation", r => chosen!(r, get_revocation_response);
    CreateSession = "create_session", r => chosen!(r, create_session_response);
    TouchSession = "touch_session", r => chosen!(r, touch_session_response);
    EndSession = "end_session", r => chosen!(r, end_session_response);
    GetSession = "get_session", r => chosen!(r, get_session_response);
    ListSessions = "list_sessions", r => chosen!(r, list_sessions_response);
    ListSessionClients = "list_session_clients", r => chosen!(r, list_session_clients_response);
    Suspend = "suspend", r => r.refusal.as_ref();
    Resume = "resume", r => r.refusal.as_ref();
    RequireReauthentication = "require_reauthentication", r => r.refusal.as_ref();
    ListFamilies = "list_families", r => chosen!(r, list_families_response);
    CountFamilies = "count_families", r => chosen!(r, count_families_response);
    RevokeAccessToken = "revoke_access_token", r => chosen!(r, revoke_access_token_response);
    CheckAccess = "check_access", r => r.refusal.as_ref();
    Acquire = "acquire", r => chosen!(r, acquire_response);
    Renew = "renew", r => r.refusal.as_ref();
    Release = "release", r => r.refusal.as_ref();
    Withdraw = "withdraw", r => r.refusal.as_ref();
    Publish = "publish", r => r.refusal.as_ref();
    Await = "await", r => chosen!(r, await_response);
    GetLock = "get_lock", r => chosen!(r, get_lock_response);
    PutRecord = "put_record", r => r.refusal.as_ref();
    GetRecord = "get_record", r => chosen!(r, get_record_response);
    FindRecords = "find_records", r => chosen!(r, find_records_response);
    LookUpRecord = "look_up_record", r => chosen!(r, look_up_record_response);
    DeleteRecord = "delete_record", r => r.refusal.as_ref();
    DeleteRecords = "delete_records", r => r.refusal.as_ref();
    CollectExpired = "collect_expired", r => r.refusal.as_ref();
    Consume = "consume", r => chosen!(r, consume_response);
    SeenOnce = "seen_once", r => r.refusal.as_ref();
    Transact = "transact", r => transact_refusal(r);
}

/// Why a transaction did nothing: the refusal of the whole, or of the operation that stopped it.
fn transact_refusal(response: &v1::TransactResponse) -> Option<&v1::Refusal> {
    use v1::transact_response::Outcome;
    /// A rotation that was overtaken is no refusal by itself.
    static SUPERSEDED: LazyLock<v1::Refusal> =
        LazyLock::new(|| v1::Refusal { code: Code::Spent.into(), ..v1::Refusal::default() });
    match response.outcome.as_ref()? {
        Outcome::Done(_) => None,
        Outcome::Refusal(refusal) => Some(refusal),
        Outcome::Stopped(stopped) => {
            let answer = stopped.answer.as_ref().and_then(|it| it.answer.as_ref());
            answer.and_then(part_refusal).or(Some(&SUPERSEDED))
        }
    }
}

fn part_refusal(answer: &PartAnswer) -> Option<&v1::Refusal> {
    match answer {
        PartAnswer::PutRecord(r) => r.refusal.as_ref(),
        PartAnswer::DeleteRecord(r) => r.refusal.as_ref(),
        PartAnswer::DeleteRecords(r) => r.refusal.as_ref(),
        PartAnswer::Consume(r) => chosen!(r, consume_response),
        PartAnswer::SeenOnce(r) => r.refusal.as_ref(),
        PartAnswer::CreateFamily(r) => chosen!(r, create_family_response),
        PartAnswer::Rotate(r) => chosen!(r, rotate_response),
        PartAnswer::Touch(r) => r.refusal.as_ref(),
        PartAnswer::UpdateFamily(r) => r.refusal.as_ref(),
        PartAnswer::RevokeFamily(r) => chosen!(r, revoke_family_response),
        PartAnswer::CreateSession(r) => chosen!(r, create_session_response),
        PartAnswer::TouchSession(r) => chosen!(r, touch_session_response),
        PartAnswer::EndSession(r) => chosen!(r, end_session_response),
    }
}

/// See the module.
pub(crate) struct Operations {
    cells: Vec<AtomicU64>,
    rotated: AtomicU64,
    replayed: AtomicU64,
    adopted: AtomicU64,
    superseded: AtomicU64,
    failures: Tally,
}

impl Default for Operations {
    fn default() -> Self {
        let mut cells = Vec::new();
        cells.resize_with(NAMES.len() * OUTCOMES, AtomicU64::default);
        Self {
            cells,
            rotated: AtomicU64::default(),
            replayed: AtomicU64::default(),
            adopted: AtomicU64::default(),
            superseded: AtomicU64::default(),
            failures: Tally::default(),
        }
    }
}

impl Operations {
    /// Counts what leaves.
    pub(crate) fn count(&self, results: &[v1::OperationResult]) {
        for response in results.iter().filter_map(|result| result.response.as_ref()) {
            self.count_one(response);
        }
    }

    fn count_one(&self, response: &Response) {
        let Some((place, refusal)) = told(response) else {
            if let Response::Failure(failure) = response {
                self.failures.add(&failure.reason);
            }
            return;
        };
        let code = refusal.map_or(0, |refusal| usize::try_from(refusal.code).unwrap_or(OUTCOMES));
        let cell = place as usize * OUTCOMES + code.min(OUTCOMES - 1);
        self.cells[cell].fetch_add(1, Ordering::Relaxed);
        match response {
            Response::Rotate(rotated) => self.count_rotation(rotated),
            Response::Transact(transacted) => {
                use v1::transact_response::Outcome;
                let answers = match &transacted.outcome {
                    Some(Outcome::Done(done)) => done.answers.as_slice(),
                    Some(Outcome::Stopped(stopped)) => stopped.answer.as_slice(),
                    Some(Outcome::Refusal(_)) | None => &[],
                };
                for answer in answers.iter().filter_map(|it| it.answer.as_ref()) {
                    if let PartAnswer::Rotate(rotated) = answer {
                        self.count_rotation(rotated);
                    }
                }
            }
            _ => {}
        }
    }

    fn count_rotation(&self, rotated: &v1::RotateResponse) {
        use v1::rotate_response::Outcome;
        let counter = match &rotated.outcome {
            Some(Outcome::Rotated(_)) => &self.rotated,
            Some(Outcome::Replayed(_)) => &self.replayed,
            Some(Outcome::Adopted(_)) => &self.adopted,
            Some(Outcome::Superseded(_)) => &self.superseded,
            Some(Outcome::Refusal(_)) | None => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Successes of every kind are shown from the start, refusals once they happened.
    pub(super) fn show(&self, page: &mut Page) {
        page.begin(&list::OPERATIONS);
        for (place, name) in NAMES.iter().enumerate() {
            for outcome in 0..OUTCOMES {
                let count = self.cells[place * OUTCOMES + outcome].load(Ordering::Relaxed);
                if count > 0 || outcome == 0 {
                    page.sample(&list::OPERATIONS, &[name, &outcome_name(outcome)], count);
                }
            }
        }
        page.begin(&list::ROTATIONS);
        for (outcome, counter) in [
            ("rotated", &self.rotated),
            ("replayed", &self.replayed),
            ("adopted", &self.adopted),
            ("superseded", &self.superseded),
        ] {
            page.sample(&list::ROTATIONS, &[outcome], counter.load(Ordering::Relaxed));
        }
        self.failures.show(page, &list::FAILURES);
    }
}

/// A refusal's code as a label: `CODE_REVOKED` is `revoked`.
fn outcome_name(outcome: usize) -> String {
    if outcome == 0 {
        return "ok".to_owned();
    }
    let code = i32::try_from(outcome).ok().and_then(|code| Code::try_from(code).ok());
    match code {
        Some(code) => code.as_str_name().trim_start_matches("CODE_").to_ascii_lowercase(),
        None => "other".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(response: Response) -> v1::OperationResult {
        v1::OperationResult { tag: 1, response: Some(response) }
    }

    #[test]
    fn every_answer_is_counted_by_kind_and_outcome() {
        let operations = Operations::default();
        let revoked = v1::Refusal { code: Code::Revoked.into(), ..v1::Refusal::default() };
        let newer = v1::Refusal { code: 9_999, ..v1::Refusal::default() };
        let rotate = |outcome| {
            result(Response::Rotate(v1::RotateResponse { position: 1, outcome: Some(outcome) }))
        };
        use v1::rotate_response::Outcome;
        let failure = v1::Failure { reason: "NOT_PROPOSED".to_owned(), ..v1::Failure::default() };
        operations.count(&[
            rotate(Outcome::Rotated(v1::IssuedToken::default())),
            rotate(Outcome::Rotated(v1::IssuedToken::default())),
            rotate(Outcome::Replayed(v1::ReplayedToken::default())),
            rotate(Outcome::Refusal(revoked.clone())),
            result(Response::Touch(v1::TouchResponse { position: 1, refusal: Some(newer) })),
            result(Response::Failure(failure)),
        ]);
        let mut page = Page::default();
        operations.show(&mut page);
        let text = page.text();
        for line in [
            "jeton_operations_total{operation=\"rotate\",outcome=\"ok\"} 3",
            "jeton_operations_total{operation=\"rotate\",outcome=\"revoked\"} 1",
            "jeton_operations_total{operation=\"touch\",outcome=\"ok\"} 0",
            "jeton_operations_total{operation=\"touch\",outcome=\"other\"} 1",
            "jeton_rotations_total{outcome=\"rotated\"} 2",
            "jeton_rotations_total{outcome=\"replayed\"} 1",
            "jeton_rotations_total{outcome=\"superseded\"} 0",
            "jeton_failures_total{reason=\"NOT_PROPOSED\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn there_is_a_cell_for_every_code_of_a_refusal() {
        let last = (0..).take_while(|code| Code::try_from(*code).is_ok()).last();
        assert!(last.is_some_and(|code| (code as usize) < OUTCOMES - 1), "{last:?}");
    }
}
