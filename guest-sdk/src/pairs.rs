//! Deserializes the pairs of a query or a form into a type of the handler's.
//!
//! A value is parsed as the type wants: a number, a word, `true` or `false`, a unit variant. A list takes all values
//! of its name, any other field the first value. An `Option` is `None` if the name is missing or its value is empty,
//! because browsers send blank inputs as empty values.

use std::collections::HashMap;
use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, Unexpected, VariantAccess,
    Visitor,
};
use serde::{de, forward_to_deserialize_any};

/// The most pairs of a query or form. A person fills in few, but a client could send a hundred thousand in 1 MiB.
const MOST: usize = 1000;

/// Deserializes pairs into a type.
///
/// # Errors
/// A field is missing or invalid: names it, and what was wanted. Or there are more than [`MOST`] pairs.
pub(crate) fn read<T: DeserializeOwned>(pairs: impl Iterator<Item = (String, String)>) -> Result<T, String> {
    // In the order of first appearance.
    let mut grouped: Vec<(String, Values)> = Vec::new();
    let mut places = HashMap::new();
    for (number, (name, value)) in pairs.enumerate() {
        if number == MOST {
            return Err(format!("there are more than {MOST} fields"));
        }
        let place = *places.entry(name.clone()).or_insert(grouped.len());
        match grouped.get_mut(place) {
            Some((_, values)) => values.all.push(value),
            None => grouped.push((name.clone(), Values { name, all: vec![value] })),
        }
    }
    T::deserialize(MapDeserializer::new(grouped.into_iter())).map_err(|Wrong(message)| message)
}

/// An error in a field, in words for the client.
#[derive(Debug)]
struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    fn custom<T: fmt::Display>(message: T) -> Wrong {
        Wrong(message.to_string())
    }

    fn missing_field(field: &'static str) -> Wrong {
        Wrong(format!("{field}: is missing"))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Wrong {
        Wrong(format!("{field}: is unknown; there are {}", expected.join(", ")))
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn de::Expected) -> Wrong {
        Wrong(format!("wanted {wanted}, found {found}"))
    }
}

/// All values of one name; at least one.
struct Values {
    name: String,
    all: Vec<String>,
}

impl Values {
    fn first(&self) -> &str {
        self.all.first().map(String::as_str).unwrap_or_default()
    }

    /// Parses the first value as a number.
    fn number<N: std::str::FromStr>(&self, wanted: &str) -> Result<N, Wrong> {
        let read = self.first().trim().parse();
        read.map_err(|_| Wrong(format!("{}: wanted {wanted}, found {:?}", self.name, self.first())))
    }

    /// Puts the name of the field in front of an error.
    fn of<T>(name: &str, outcome: Result<T, Wrong>) -> Result<T, Wrong> {
        outcome.map_err(|Wrong(message)| {
            if message.starts_with(&format!("{name}: ")) {
                Wrong(message)
            } else {
                Wrong(format!("{name}: {message}"))
            }
        })
    }
}

impl IntoDeserializer<'_, Wrong> for Values {
    type Deserializer = Values;

    fn into_deserializer(self) -> Values {
        self
    }
}

macro_rules! numbers {
    ($($function:ident, $visit:ident, $number:ty, $wanted:expr;)*) => {
        $(fn $function<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            visitor.$visit(self.number::<$number>($wanted)?)
        })*
    };
}

impl<'de> Deserializer<'de> for Values {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Wrong> {
        let value = self.all.swap_remove(0);
        Values::of(&self.name, visitor.visit_string(value))
    }

    numbers! {
        deserialize_i8, visit_i8, i8, "a whole number from -128 to 127";
        deserialize_i16, visit_i16, i16, "a whole number from -32768 to 32767";
        deserialize_i32, visit_i32, i32, "a whole number";
        deserialize_i64, visit_i64, i64, "a whole number";
        deserialize_u8, visit_u8, u8, "a whole number from 0 to 255";
        deserialize_u16, visit_u16, u16, "a whole number from 0 to 65535";
        deserialize_u32, visit_u32, u32, "a whole number that is not negative";
        deserialize_u64, visit_u64, u64, "a whole number that is not negative";
        deserialize_f32, visit_f32, f32, "a number";
        deserialize_f64, visit_f64, f64, "a number";
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.first() {
            // Browsers send `on` for a ticked checkbox.
            "true" | "1" | "on" | "yes" => visitor.visit_bool(true),
            "false" | "0" | "off" | "no" => visitor.visit_bool(false),
            other => Err(Wrong(format!("{}: wanted true or false, found {other:?}", self.name))),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        if self.all.iter().all(String::is_empty) { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let Values { name, all } = self;
        let each = all.into_iter().map(|value| Values { name: name.clone(), all: vec![value] });
        Values::of(&name, visitor.visit_seq(SeqDeserializer::new(each)))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let name = self.name.clone();
        Values::of(&name, visitor.visit_enum(Word(self)))
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

/// A value that is a unit variant.
struct Word(Values);

impl<'de> EnumAccess<'de> for Word {
    type Error = Wrong;
    type Variant = Word;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Word), Wrong> {
        let variant = seed.deserialize(self.0.first().to_owned().into_deserializer())?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Word {
    type Error = Wrong;

    fn unit_variant(self) -> Result<(), Wrong> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _seed: S) -> Result<S::Value, Wrong> {
        Err(Wrong("a single value cannot hold a variant with fields".to_owned()))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, _visitor: V) -> Result<V::Value, Wrong> {
        Err(Wrong("a single value cannot hold a variant with fields".to_owned()))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Wrong> {
        Err(Wrong("a single value cannot hold a variant with fields".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde::Deserialize;

    use super::*;
    use crate::query;

    #[derive(Deserialize, PartialEq, Debug)]
    #[serde(rename_all = "lowercase")]
    enum Order {
        Up,
        Down,
    }

    #[derive(Deserialize, PartialEq, Debug)]
    struct Id(u64);

    #[derive(Deserialize, PartialEq, Debug)]
    struct Wanted {
        page: u32,
        ratio: Option<f64>,
        #[serde(default)]
        tag: Vec<String>,
        order: Option<Order>,
        #[serde(default)]
        all: bool,
        id: Option<Id>,
        name: Option<String>,
    }

    fn of<T: DeserializeOwned>(text: &str) -> Result<T, String> {
        read(query::pairs(text))
    }

    #[test]
    fn a_query_becomes_what_a_handler_wants() {
        let wanted: Wanted =
            of("page=2&tag=a&ratio=0.5&tag=b+c&order=down&all=on&id=7&other=x&name=%C3%A9&page=9").unwrap();

        assert_eq!(
            (wanted.page, wanted.ratio, wanted.tag),
            (2, Some(0.5), vec!["a".to_owned(), "b c".to_owned()])
        );
        assert_eq!((wanted.order, wanted.all, wanted.id), (Some(Order::Down), true, Some(Id(7))));
        assert_eq!(wanted.name.as_deref(), Some("é"));
        let least: Wanted = of("page=+1&ratio=&name=&id=").unwrap();
        assert_eq!((least.page, least.ratio, least.name, least.id), (1, None, None, None));
        assert_eq!(of::<HashMap<String, u8>>("a=1&b=2").unwrap().len(), 2);
    }

    #[test]
    fn a_form_of_very_many_names_is_refused_at_once() {
        let form = |names: usize| (0..names).map(|name| format!("{name}=&")).collect::<String>();

        assert_eq!(of::<HashMap<String, String>>(&form(MOST)).unwrap().len(), MOST);
        for many in [MOST + 1, 200_000] {
            let refused = of::<HashMap<String, String>>(&form(many)).unwrap_err();
            assert_eq!(refused, "there are more than 1000 fields");
        }
        // Repetitions of one name count as well.
        assert!(of::<Wanted>(&"page=1&".repeat(MOST + 1)).is_err());
    }

    #[test]
    fn what_is_wrong_is_told_with_the_name_of_its_field() {
        for (text, told) in [
            ("", "page: is missing"),
            ("page=x", "page: wanted a whole number that is not negative, found \"x\""),
            ("page=-1", "page: wanted a whole number that is not negative, found \"-1\""),
            ("page=1&ratio=a", "ratio: wanted a number, found \"a\""),
            ("page=1&order=left", "order: unknown variant `left`, expected `up` or `down`"),
            ("page=1&all=maybe", "all: wanted true or false, found \"maybe\""),
            ("page=1&id=x", "id: wanted a whole number that is not negative, found \"x\""),
        ] {
            assert_eq!(of::<Wanted>(text).unwrap_err(), told, "{text}");
        }
        assert_eq!(
            of::<HashMap<String, u8>>("a=300").unwrap_err(),
            "a: wanted a whole number from 0 to 255, found \"300\""
        );
    }
}
