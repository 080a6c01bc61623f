//! Bearer tokens: who may do what.
//!
//! A file holds one token a line, `ROLE TOKEN`, where TOKEN is `sha256:` and 64 hex
//! digits, or the token itself. Tokens are random and long (`kvnode token` makes them),
//! so a plain hash is enough: there is nothing to guess.

use std::path::Path;

use ring::digest::{SHA256, digest};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::pem::{self, SecureError};
use crate::env::rng;

/// Shortest token that is accepted in plain, characters: shorter ones can be guessed.
const SHORTEST: usize = 16;

/// What a token allows. Each role may do all that those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Role {
    /// Reading keys and the state of the cluster.
    Read,
    /// Writing keys.
    Write,
    /// Changing the cluster.
    Admin,
}

impl Role {
    const ALL: [Role; 3] = [Role::Read, Role::Write, Role::Admin];

    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Write => "write",
            Role::Admin => "admin",
        }
    }

    fn named(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// The tokens that are known, by their hashes.
#[derive(Clone)]
pub struct Tokens {
    known: Vec<(Role, [u8; 32])>,
}

impl Tokens {
    /// Reads a file of tokens.
    ///
    /// # Errors
    /// The line that does not read; a file without a token locks everyone out and counts
    /// as a mistake too.
    pub fn read(path: &Path) -> Result<Tokens, SecureError> {
        let bytes = pem::read(path)?;
        let text = String::from_utf8_lossy(&bytes);
        let mut known = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            known.push(parse(line).map_err(|what| SecureError::Line {
                path: path.to_owned(),
                line: number + 1,
                what: what.to_owned(),
            })?);
        }
        match known.is_empty() {
            true => Err(SecureError::Content {
                path: path.to_owned(),
                what: "there is no token in it: make one with `kvnode token admin`".to_owned(),
            }),
            false => Ok(Tokens { known }),
        }
    }

    /// The role of a token, if it is known. Takes as long whichever it is.
    pub fn role(&self, token: &str) -> Option<Role> {
        let hash = hash(token);
        let (mut found, mut role) = (Choice::from(0), 0_u8);
        for (known_role, known) in &self.known {
            let same = known.ct_eq(&hash);
            role = u8::conditional_select(&role, &(*known_role as u8), same);
            found |= same;
        }
        let named = Role::ALL.into_iter().find(|known| *known as u8 == role);
        named.filter(|_| bool::from(found))
    }
}

fn parse(line: &str) -> Result<(Role, [u8; 32]), &'static str> {
    let mut words = line.split_whitespace();
    let (Some(role), Some(token), None) = (words.next(), words.next(), words.next()) else {
        return Err("a line is ROLE TOKEN, two words");
    };
    let role = Role::named(role).ok_or("the role must be read, write or admin")?;
    match token.strip_prefix("sha256:") {
        Some(hex) => Ok((role, unhex(hex).ok_or("sha256: is followed by 64 hex digits")?)),
        None if token.len() < SHORTEST => {
            Err("the token is shorter than 16 characters: make one with `kvnode token`")
        }
        None => Ok((role, hash(token))),
    }
}

/// A fresh token, and its line for the file.
pub fn fresh(role: Role) -> (String, String) {
    let token = format!("{:016x}{:016x}", rng::random_u64(), rng::random_u64());
    let line = format!("{} sha256:{}", role.name(), hex(&hash(&token)));
    (token, line)
}

fn hash(token: &str) -> [u8; 32] {
    digest(&SHA256, token.as_bytes())
        .as_ref()
        .try_into()
        .expect("SHA-256 has 32 bytes")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Tokens, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        crate::env::fs::write_durably(&path, text.as_bytes()).unwrap();
        Tokens::read(&path).map_err(|error| {
            let told = error.to_string();
            told.replace(&path.display().to_string(), "FILE")
        })
    }

    #[test]
    fn tokens_are_known_hashed_or_plain() {
        let (secret, line) = fresh(Role::Write);
        let known = tokens(&format!(
            "# who\n{line}\n\n  admin a-token-of-some-length\nread sha256:{}\n",
            hex(&hash("reader"))
        ))
        .unwrap();
        assert_eq!(known.role(&secret), Some(Role::Write));
        assert_eq!(known.role("a-token-of-some-length"), Some(Role::Admin));
        assert_eq!(known.role("reader"), Some(Role::Read));
        for wrong in ["", "Reader", "reader ", &secret[1..], &line] {
            assert_eq!(known.role(wrong), None, "{wrong}");
        }
        assert_ne!(fresh(Role::Read).0, fresh(Role::Read).0);
    }

    #[test]
    fn a_file_that_does_not_read_is_named_with_its_line() {
        for (text, want) in [
            ("", "FILE: there is no token in it"),
            ("admin", "FILE:1: a line is ROLE TOKEN"),
            (
                "\nroot a-token-of-some-length",
                "FILE:2: the role must be read, write or admin",
            ),
            ("read short", "FILE:1: the token is shorter than 16"),
            ("read sha256:abc", "FILE:1: sha256: is followed by 64 hex digits"),
        ] {
            let told = tokens(text).err().unwrap();
            assert!(told.starts_with(want), "{text:?}: {told}");
        }
    }
}
