//! A JSON object whose keys are data, such as the captures of a route.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Keys and values in their order in the text, which no map of the standard library keeps.
#[derive(Clone, PartialEq, Debug)]
pub struct Pairs<T>(pub Vec<(String, T)>);

impl<T> Default for Pairs<T> {
    fn default() -> Pairs<T> {
        Pairs(Vec::new())
    }
}

impl<K: Into<String>, T> FromIterator<(K, T)> for Pairs<T> {
    fn from_iter<I: IntoIterator<Item = (K, T)>>(pairs: I) -> Pairs<T> {
        Pairs(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }
}

impl<T: Serialize> Serialize for Pairs<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Pairs<T>, D::Error> {
        struct PairsVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for PairsVisitor<T> {
            type Value = Pairs<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<T>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        from.deserialize_map(PairsVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_order() {
        let text = r#"{"who":"ada","also":"bob"}"#;

        let pairs: Pairs<String> = serde_json::from_str(text).unwrap();

        assert_eq!(pairs.0[0], ("who".to_owned(), "ada".to_owned()));
        assert_eq!(serde_json::to_string(&pairs).unwrap(), text);
        assert!(serde_json::from_str::<Pairs<String>>("[]").is_err());
    }
}
