//! What semantics §1 promises of every reply, checked from what was said and nothing else.

use jeton_core::access::*;
use jeton_core::command::*;
use jeton_core::ids::*;
use jeton_core::read;
use jeton_core::reply::*;

use super::{Known, Step, World, tenant_id};

impl World {
    /// The promises of semantics §1, from what was said and nothing else.
    pub(super) fn check_reply(&mut self, step: &Step, command: &Command, reply: &Reply) {
        let key = (step.tenant, self.family_id(step));
        let position = self.machine.meta().position;
        match (&command.operation, &reply.outcome) {
            (Operation::CreateFamily(wish), Ok(_)) if reply.position == position => {
                let of_session = self.origin_of(step.tenant, wish.session.as_ref());
                let authenticated_at = wish.authenticated_at.into_iter().chain(of_session).min();
                let origin = authenticated_at.unwrap_or(position);
                let device = wish.device.as_ref().map(ToString::to_string);
                let who = (wish.subject.to_string(), wish.client.to_string(), device);
                let (tokens, session) = (vec![wish.digest], wish.session.clone());
                self.check_cap(step.tenant, wish, reply);
                let known = Known {
                    origin,
                    who,
                    tokens,
                    minted: position,
                    session,
                    authenticated_at,
                    opaque: wish.opaque,
                    ..Known::default()
                };
                self.known.insert(key, known);
            }
            (Operation::RevokeAccessToken(wish), Ok(Done::Revoked { .. }))
                if reply.position == position =>
            {
                let (jti, client) = (Some(wish.jti.clone()), Some(wish.client.clone()));
                let access = self.access(key.0, AccessClaims { jti, client, ..Default::default() });
                assert!(matches!(access, Access::Denied(by) if by.basis == Basis::Jti));
            }
            (Operation::RevokeWhere(wish), Ok(_)) if reply.position == position => {
                self.cut(step.tenant, &wish.matching, position);
            }
            (Operation::RevokeFamily(_) | Operation::RevokeToken(_), Ok(Done::Revoked { .. }))
            | (_, Err(Refusal::Reused(Reuse { revoked: true, .. }))) => {
                let known = self.known.get_mut(&key).unwrap();
                known.dead = known.dead.or(Some(position));
            }
            (Operation::Rotate(wish), Ok(Done::Rotated(rotated))) => {
                let known = self.known.get_mut(&key).unwrap();
                assert_eq!(known.dead, None, "nothing succeeds after a revocation");
                assert_eq!(rotated.generation.0, known.tokens.len() as u64, "one chain");
                known.tokens.push(wish.successor);
                known.minted = position;
            }
            (Operation::Rotate(_), Ok(Done::Replayed(replayed))) => {
                let known = &self.known[&key];
                assert_eq!(known.dead, None, "nothing succeeds after a revocation");
                let generation = replayed.rotated.generation.0 as usize;
                assert_eq!(known.tokens[generation], replayed.successor, "one successor");
                assert_eq!(replayed.seal, replayed.successor.0[..], "its own seal");
            }
            (Operation::Rotate(wish), Ok(Done::Adopted(adopted))) => {
                let known = self.known.get_mut(&key).unwrap();
                assert_eq!(known.dead, None, "nothing succeeds after a revocation");
                let generation = adopted.rotated.generation.0;
                assert_eq!(generation, known.tokens.len() as u64 - 1, "it stands for the head");
                known.aliases.push((generation, wish.successor));
            }
            (Operation::Rotate(_) | Operation::Touch(_), Ok(_)) => {
                assert_eq!(self.known[&key].dead, None, "nothing succeeds after a revocation");
            }
            (Operation::UpdateFamily(_), Ok(_)) => {
                assert_eq!(self.known[&key].dead, None, "nothing succeeds after a revocation");
            }
            _ => {}
        }
        let tenant = tenant_id(step.tenant);
        for (family, known) in self.known.range((step.tenant, FamilyId([0; 16]))..) {
            let dead = family.0 == step.tenant && known.dead.is_some();
            let view = read::family(&self.tables, self.now, &tenant, family.1).unwrap();
            let alive = view.is_ok_and(|view| view.dead.is_none());
            assert!(!(dead && alive), "what was revoked stays so");
            if family.0 == step.tenant {
                let access = self.access(step.tenant, known.claims(Some(family.1)));
                let seen = read::family(&self.tables, self.now, &tenant, family.1).unwrap();
                // What ended by the clock ends no access token before its time.
                let revoked = |by: &RevokedBy| by.position != Position(0);
                let told = matches!(seen.map(|view| view.dead),
                    Ok(Some(Refusal::Revoked(by) | Refusal::Suspended(by))) if revoked(&by));
                let anew = |by: Denied| by.cause == RevocationCause::Reauthentication;
                let older = matches!(access, Access::Denied(by) if anew(by));
                let spared = access == Access::Active || !alive || older;
                assert!(spared, "what lives is denied: {access:?}");
                assert!(!told || access != Access::Active, "access ends with the family");
            }
        }
        self.check_sessions(step, command, reply);
    }

    fn cut(&mut self, tenant: u8, wish: &Criteria, position: Position) {
        for ((_, _), known) in self.known.iter_mut().filter(|((of, _), _)| *of == tenant) {
            let (subject, client, device) = &known.who;
            let hit = wish.subject.as_ref().is_none_or(|name| name.as_str() == subject)
                && wish.client.as_ref().is_none_or(|name| name.as_str() == client)
                && wish.device.as_ref().is_none_or(|name| Some(name.as_str()) == device.as_deref())
                && wish.session.as_ref().is_none_or(|name| known.session.as_ref() == Some(name));
            if hit && known.origin < position {
                known.dead = known.dead.or(Some(position));
            }
        }
        self.cut_where(tenant, wish, position);
    }
}
