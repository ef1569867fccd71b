//! The rules of the state machine, told as stories: `transcripts/*.txt`.
//!
//! A line with `>` is a command, the lines under it are what came of it; all else is prose. See
//! `story` for the words. After a change of a rule write the answers anew, and read the difference:
//!
//! ```text
//! JETON_TRANSCRIPTS=write cargo test -p jeton-core --test transcripts
//! ```

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod story;

use std::fmt::Write as _;
use std::path::Path;

/// Runs a transcript, and returns it with the answers that came.
fn run(text: &str) -> String {
    let mut story = story::Story::default();
    let mut out = String::new();
    let mut answering = false;
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            writeln!(out, "{line}").unwrap();
            story.tell(command).lines().for_each(|line| writeln!(out, "{line}").unwrap());
            answering = true;
        } else if line.is_empty() || line.starts_with('#') {
            writeln!(out, "{line}").unwrap();
            answering = false;
        } else {
            assert!(answering, "an answer without a command: {line}");
        }
    }
    out
}

fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let told = run(&text);
    if std::env::var("JETON_TRANSCRIPTS").is_ok_and(|how| how == "write") {
        std::fs::write(&path, told).unwrap();
        return;
    }
    for (line, (want, got)) in text.lines().zip(told.lines()).enumerate() {
        assert_eq!(want, got, "{name}, line {}", line + 1);
    }
    assert_eq!(text.lines().count(), told.lines().count(), "{name} ends elsewhere");
}

macro_rules! transcripts {
    ($($test:ident: $file:literal,)*) => {
        $(#[test] fn $test() { check($file); })*

        /// A story that nobody runs proves nothing.
        #[test]
        fn every_transcript_is_run() {
            let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
            let mut found: Vec<String> = std::fs::read_dir(dir).unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            let mut run = vec![$($file.to_owned()),*];
            found.sort();
            run.sort();
            assert_eq!(found, run);
        }
    };
}

transcripts! {
    a_spent_token_comes_back: "a spent token comes back.txt",
    a_token_is_rotated: "a token is rotated.txt",
    a_retry_is_answered_alike: "a retry is answered alike.txt",
    siblings_present_the_same_token: "siblings present the same token.txt",
    the_wrong_client_or_key: "the wrong client or key.txt",
    a_family_ends_by_itself: "a family ends by itself.txt",
    the_store_went_back_in_time: "the store went back in time.txt",
    a_family_spins: "a family spins.txt",
    a_family_is_revoked: "a family is revoked.txt",
    a_cutoff_kills_what_is_older: "a cutoff kills what is older.txt",
    an_office_is_revoked: "an office is revoked.txt",
    a_revocation_by_what_is_known: "a revocation by what is known.txt",
    some_are_left_alone: "some are left alone.txt",
    a_user_must_authenticate_anew: "a user must authenticate anew.txt",
    a_user_signs_in_and_out: "a user signs in and out.txt",
    a_session_ends_by_itself: "a session ends by itself.txt",
    families_hang_on_their_session: "families hang on their session.txt",
    something_is_suspended: "something is suspended.txt",
    requests_have_names_and_ages: "requests have names and ages.txt",
    a_key_leaks: "a key leaks.txt",
    tenants_have_limits: "tenants have limits.txt",
    a_family_is_changed: "a family is changed.txt",
    revocations_are_watched: "revocations are watched.txt",
    an_access_token_is_denied: "an access token is denied.txt",
    an_access_token_is_checked: "an access token is checked.txt",
    space_is_reclaimed: "space is reclaimed.txt",
    a_record_is_kept: "a record is kept.txt",
    a_record_ends: "a record ends.txt",
    a_code_is_consumed_once: "a code is consumed once.txt",
    a_code_comes_back: "a code comes back.txt",
    guesses_are_counted: "guesses are counted.txt",
    a_proof_is_seen_once: "a proof is seen once.txt",
    a_lock_is_held: "a lock is held.txt",
    a_lock_is_waited_for: "a lock is waited for.txt",
    a_caller_goes_away: "a caller goes away.txt",
    lease_time_stands_still: "lease time stands still.txt",
    a_flight_is_shared: "a flight is shared.txt",
    families_are_listed: "families are listed.txt",
    a_subject_has_no_more_than_its_cap: "a subject has no more than its cap.txt",
    opaque_tokens_obey_the_same_table: "opaque tokens obey the same table.txt",
    a_digest_is_known_once: "a digest is known once.txt",
    losers_are_adopted: "losers are adopted.txt",
    ancestors_are_forgotten: "ancestors are forgotten.txt",
    a_transaction_is_all_or_nothing: "a transaction is all or nothing.txt",
    a_transaction_is_stopped: "a transaction is stopped.txt",
    a_guarded_write_comes_late: "a guarded write comes late.txt",
    a_transaction_is_repeated: "a transaction is repeated.txt",
    a_transaction_has_limits: "a transaction has limits.txt",
    a_tenant_outgrows_its_quota: "a tenant outgrows its quota.txt",
}
