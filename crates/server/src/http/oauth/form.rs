//! Forms (`application/x-www-form-urlencoded`), strictly: UTF-8, no parameter twice (RFC 6749
//! §3.1), nothing kept when they are dropped.

use zeroize::Zeroizing;

/// Most parameters of a form.
pub(super) const PARAMETERS_MAX: usize = 32;

/// What is wrong with a form. Names nothing of what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum FormError {
    /// A `%` without two hexadecimal digits behind it, or bytes that are no UTF-8.
    Encoding,
    /// A parameter is there twice.
    Duplicate,
    /// More than [`PARAMETERS_MAX`].
    TooMany,
}

/// Names and values.
#[derive(Default)]
pub(in crate::http) struct Form(Vec<(Zeroizing<String>, Zeroizing<String>)>);

impl Form {
    pub(in crate::http) fn parse(bytes: &[u8]) -> Result<Self, FormError> {
        let mut parameters: Vec<(Zeroizing<String>, Zeroizing<String>)> = Vec::new();
        for part in bytes.split(|b| *b == b'&').filter(|part| !part.is_empty()) {
            if parameters.len() == PARAMETERS_MAX {
                return Err(FormError::TooMany);
            }
            let at = part.iter().position(|b| *b == b'=');
            let (name, value) = match at {
                Some(at) => (&part[..at], &part[at + 1..]),
                None => (part, &part[part.len()..]),
            };
            let name = decode(name).ok_or(FormError::Encoding)?;
            let value = decode(value).ok_or(FormError::Encoding)?;
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err(FormError::Duplicate);
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    /// The first parameter that is none of these.
    pub(in crate::http) fn other_than(&self, known: &[&str]) -> Option<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).find(|name| !known.contains(name))
    }

    /// A parameter's value. One without a value counts as left out (RFC 6749 §3.1).
    pub(in crate::http) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known.as_str() == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

/// One name or value.
pub(super) fn decode(text: &[u8]) -> Option<Zeroizing<String>> {
    // Never longer than what it is made from: it does not grow, and leaves no pieces behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let [high, low, tail @ ..] = rest else { return None };
                bytes.push(digit(*high)? << 4 | digit(*low)?);
                rest = tail;
            }
            other => bytes.push(*other),
        }
    }
    let text = std::str::from_utf8(&bytes).ok()?;
    let mut decoded = Zeroizing::new(String::with_capacity(text.len()));
    decoded.push_str(text);
    Some(decoded)
}

fn digit(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(form: &[u8], name: &str) -> Option<String> {
        Form::parse(form).expect("a good form").get(name).map(str::to_owned)
    }

    fn wrong(form: &[u8]) -> Option<FormError> {
        Form::parse(form).err()
    }

    #[test]
    fn parameters_are_decoded() {
        assert_eq!(get(b"token=a+b%2Bc%c3%a9&x", "token").as_deref(), Some("a b+c\u{e9}"));
        assert_eq!(get(b"token=a=b", "token").as_deref(), Some("a=b"));
        assert_eq!(get(b"&&token=a&", "token").as_deref(), Some("a"));
        assert_eq!(get(b"t%6Fken=a", "token").as_deref(), Some("a"));
        assert_eq!(get(b"token=", "token"), None, "no value: left out");
        assert_eq!(get(b"token", "token"), None);
        assert_eq!(get(b"", "token"), None);
    }

    #[test]
    fn what_is_ambiguous_or_broken_is_refused() {
        assert_eq!(wrong(b"token=a&token=a"), Some(FormError::Duplicate));
        assert_eq!(wrong(b"token=a&t%6fken=b"), Some(FormError::Duplicate));
        assert_eq!(wrong(b"x&x"), Some(FormError::Duplicate));
        for broken in [&b"a=%"[..], b"a=%4", b"a=%zz", b"a=%+1", b"a=\xff", b"%ff=a", b"a=%c3"] {
            assert_eq!(wrong(broken), Some(FormError::Encoding), "{broken:?}");
        }
        let many = |n: usize| (0..n).map(|i| format!("p{i}=1&")).collect::<String>();
        assert_eq!(wrong(many(PARAMETERS_MAX).as_bytes()), None);
        assert_eq!(wrong(many(PARAMETERS_MAX + 1).as_bytes()), Some(FormError::TooMany));
    }
}
