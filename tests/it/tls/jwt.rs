//! JSON Web Tokens: of the issuer, for this server, in time, by the algorithm of the key; and nothing else.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PublicKeyData};
use serde_json::{Value, json};

use super::site::{Site, assert_unauthenticated, known_as};
use crate::harness::{Daemon, LOOK_AGAIN, soon};

pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const AUDIENCE: &str = "remexd.example";

/// A key of the issuer.
pub(crate) struct Signer {
    id: &'static str,
    key: KeyPair,
}

impl Signer {
    pub(crate) fn new(id: &'static str) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { id, key }
    }

    /// As a key set has it.
    pub(crate) fn jwk(&self) -> Value {
        // A point, uncompressed.
        let point = &self.key.der_bytes()[1..];
        let (x, y) = point.split_at(32);
        let text = |bytes| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "kid": self.id, "x": text(x), "y": text(y)})
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.id.to_owned());
        self.sign_with(&header, claims)
    }

    fn sign_with(&self, header: &Header, claims: &Value) -> String {
        let key = EncodingKey::from_ec_der(&self.key.serialize_der());
        encode(header, claims, &key).unwrap()
    }
}

pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

pub(crate) fn claims() -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "ada@example.org", "exp": now() + 600})
}

/// The same with some that are others, or missing if they are null.
pub(crate) fn claims_but(others: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in others.as_object().unwrap() {
        let claims = claims.as_object_mut().unwrap();
        match value {
            Value::Null => drop(claims.remove(name)),
            value => drop(claims.insert(name.clone(), value.clone())),
        }
    }
    claims
}

async fn start(site: &Site, keys: &[&Signer]) -> Daemon {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    let jwks = site.put("jwks", &json!({ "keys": keys }).to_string());
    let flags = [
        "--jwks",
        &jwks,
        "--jwt-issuer",
        ISSUER,
        "--jwt-audience",
        AUDIENCE,
    ];
    site.start(&flags).await
}

#[tokio::test]
async fn a_caller_is_known_by_its_jwt() {
    let site = Site::new();
    let (one, two) = (Signer::new("one"), Signer::new("two"));
    let daemon = start(&site, &[&one, &two]).await;
    let nameless = two.sign_with(&Header::new(Algorithm::ES256), &claims());
    let audiences = claims_but(&json!({"aud": ["other", AUDIENCE]}));
    for token in [one.sign(&claims()), two.sign(&audiences), nameless] {
        let files = site.bearing(&token, site.anonymous());
        assert_eq!(
            known_as(&daemon, files).await.unwrap(),
            "jwt:ada@example.org"
        );
        assert!(!site.home.log().contains(&token), "a token in the log");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_jwt_is_told() {
    let site = Site::new();
    let (one, foreign) = (Signer::new("one"), Signer::new("one"));
    let stranger = Signer::new("stranger");
    let daemon = start(&site, &[&one]).await;
    for (others, why) in [
        (json!({"exp": now() - 60}), "expired"),
        (json!({"nbf": now() + 600}), "not valid yet"),
        (json!({"iss": "https://other.example"}), "issuer"),
        (json!({"aud": "other"}), "audience"),
        (json!({"sub": ""}), "subject"),
        (json!({"sub": "ada\u{1b}[2J"}), "subject"),
        (json!({"sub": null}), "JWT is refused"),
        (json!({"exp": null}), "JWT is refused"),
        (json!({"iss": null}), "JWT is refused"),
        (json!({"aud": null}), "JWT is refused"),
        (json!({"exp": "tomorrow"}), "JWT is refused"),
    ] {
        let token = one.sign(&claims_but(&others));
        let files = site.bearing(&token, site.anonymous());
        assert_unauthenticated(known_as(&daemon, files).await, &[why]);
    }
    let files = |token: &str| site.bearing(token, site.anonymous());
    let refused = known_as(&daemon, files(&foreign.sign(&claims()))).await;
    assert_unauthenticated(refused, &["signature"]);
    let refused = known_as(&daemon, files(&stranger.sign(&claims()))).await;
    assert_unauthenticated(refused, &["no key of --jwks"]);
    daemon.stop().await;
}

/// What it says it is signed by is not asked: neither nothing, nor the public key as if it were a secret.
#[tokio::test]
async fn algorithms_are_those_of_the_key() {
    let site = Site::new();
    let one = Signer::new("one");
    let daemon = start(&site, &[&one]).await;
    let text = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = claims();
    let unsigned = format!(
        "{}.{}.",
        text(&json!({"alg": "none", "kid": "one"})),
        text(&claims)
    );
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("one".to_owned());
    let public = EncodingKey::from_secret(one.key.der_bytes());
    let as_secret = encode(&header, &claims, &public).unwrap();
    let mut critical = Header::new(Algorithm::ES256);
    critical.kid = Some("one".to_owned());
    critical.crit = Some(vec!["x".to_owned()]);
    let critical = one.sign_with(&critical, &claims);
    let good = one.sign(&claims);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let cut = format!("{signed}.{}", &signature[1..]);
    for token in [unsigned, as_secret, critical, cut, "a.b.c".to_owned()] {
        let files = site.bearing(&token, site.anonymous());
        assert_unauthenticated(known_as(&daemon, files).await, &["JWT is refused"]);
    }
    assert!(site.executions().await.is_empty(), "something ran");
    daemon.stop().await;
}

#[tokio::test]
async fn keys_are_replaced_while_it_serves() {
    let site = Site::new();
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let daemon = start(&site, &[&old]).await;
    let known = async |signer: &Signer| {
        let files = site.bearing(&signer.sign(&claims()), site.anonymous());
        known_as(&daemon, files).await
    };
    assert!(known(&old).await.is_ok() && known(&new).await.is_err());
    site.put("jwks", &json!({"keys": [new.jwk()]}).to_string());
    soon("the new key", async {
        while known(&old).await.is_ok() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
    .await;
    assert!(known(&new).await.is_ok());
    daemon.stop().await;
}
