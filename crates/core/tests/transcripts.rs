//! The rules of the state machine, told as stories: `transcripts/*.txt`.
//!
//! A line with `>` is a command, the lines under it are what came of it; all else is prose. See
//! `story` for the words. After a change of a rule write the answers anew, and read the difference:
//!
//! ```text
//! JETON_TRANSCRIPTS=write cargo test -p jeton-core --test transcripts
//! ```

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[allow(dead_code, reason = "other tests use the rest of it")]
mod story;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use story::store::Memory;
use story::{Story, run};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")
}

fn writes() -> bool {
    std::env::var("JETON_TRANSCRIPTS").is_ok_and(|how| how == "write")
}

fn check(name: &str) {
    let path = folder().join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let told = run(&text, &mut Story::over(Memory::default()));
    if writes() {
        std::fs::write(&path, told).unwrap();
        return;
    }
    for (line, (want, got)) in text.lines().zip(told.lines()).enumerate() {
        assert_eq!(want, got, "{name}, line {}", line + 1);
    }
    assert_eq!(text.lines().count(), told.lines().count(), "{name} ends elsewhere");
}

/// Every reply of every operation that is heard in these transcripts, and in which of them.
fn shown(names: &[&str]) -> BTreeMap<(String, String), Vec<String>> {
    let mut shown = BTreeMap::<_, Vec<String>>::new();
    for name in names {
        let text = std::fs::read_to_string(folder().join(name)).unwrap();
        let mut story = Story::over(Memory::default());
        run(&text, &mut story);
        let title = name.trim_end_matches(".txt");
        for pair in story.into_shown() {
            shown.entry(pair).or_default().push(title.to_owned());
        }
    }
    shown
}

/// Names of an enum's variants, as its source declares them.
fn variants(source: &str, name: &str) -> BTreeSet<String> {
    let body = source.split_once(&format!("pub enum {name} {{\n")).unwrap().1;
    let body = body.split_once("\n}\n").unwrap().0;
    let names = body.lines().filter_map(|line| {
        let line = line.strip_prefix("    ").filter(|line| line.starts_with(char::is_uppercase))?;
        line.split(|c: char| !c.is_alphanumeric()).next()
    });
    names.map(str::to_owned).collect()
}

/// What `shown.txt` says is held against the operations' pages by a test of the server: a reply
/// of a page that no transcript shows is a gap, one that is shown and on no page is a secret.
fn check_shown(names: &[&str]) {
    let mut text = String::from(
        "# Replies of operations, and the transcripts that show them. Made together with these:\n\
         # JETON_TRANSCRIPTS=write cargo test -p jeton-core --test transcripts\n",
    );
    let shown = shown(names);
    for ((operation, reply), titles) in &shown {
        writeln!(text, "{operation} {reply}: {}", titles.join(", ")).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shown.txt");
    if writes() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{COMMAND}");

    let plain = |label: &String| label.split('(').next().unwrap_or_default().to_owned();
    let operations: BTreeSet<_> = shown.keys().map(|(operation, _)| operation.clone()).collect();
    let replies: BTreeSet<_> = shown.keys().map(|(_, reply)| plain(reply)).collect();
    let commands = variants(include_str!("../src/command.rs"), "Operation");
    let untold: Vec<_> = commands.difference(&operations).collect();
    assert!(untold.is_empty(), "no transcript tells of {untold:?}");
    let source = include_str!("../src/reply.rs");
    let refusals = variants(source, "Refusal");
    let refusals =
        refusals.iter().filter(|name| *name != "Code").map(|name| story::shown::loud(name));
    let codes = variants(include_str!("../src/reply/record.rs"), "CodeRefusal");
    let codes = codes.iter().map(|name| story::shown::loud(&format!("Code{name}")));
    let all: BTreeSet<_> =
        variants(source, "Done").into_iter().chain(refusals).chain(codes).collect();
    let unheard: Vec<_> = all.difference(&replies).collect();
    assert!(unheard.is_empty(), "no transcript shows {unheard:?}");
}

const COMMAND: &str = "JETON_TRANSCRIPTS=write cargo test -p jeton-core --test transcripts";

macro_rules! transcripts {
    ($($test:ident: $file:literal,)*) => {
        $(#[test] fn $test() { check($file); })*

        #[test]
        fn every_reply_is_shown_and_what_is_shown_is_listed() { check_shown(&[$($file),*]); }

        /// A story that nobody runs proves nothing.
        #[test]
        fn every_transcript_is_run() {
            let mut found: Vec<String> = std::fs::read_dir(folder()).unwrap()
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
    offices_are_revoked_one_after_the_other: "offices are revoked one after the other.txt",
    a_revocation_by_what_is_known: "a revocation by what is known.txt",
    some_are_left_alone: "some are left alone.txt",
    a_user_must_authenticate_anew: "a user must authenticate anew.txt",
    a_user_signs_in_and_out: "a user signs in and out.txt",
    a_session_ends_by_itself: "a session ends by itself.txt",
    families_hang_on_their_session: "families hang on their session.txt",
    something_is_suspended: "something is suspended.txt",
    a_request_comes_too_late: "a request comes too late.txt",
    a_tenant_is_unknown: "a tenant is unknown.txt",
    a_name_is_taken: "a name is taken.txt",
    an_answer_is_heard_twice: "an answer is heard twice.txt",
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
