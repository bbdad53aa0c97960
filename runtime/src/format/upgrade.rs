//! Files that earlier builds wrote, read as what they mean today.

use alloc::format;
use alloc::string::String;
use core::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::input::Preprocess;

/// The preprocessing of a file, if it has one. Where it says of no kind it is that of images, the only
/// kind there was when files did not say.
pub(super) fn preprocess<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Preprocess>, D::Error> {
    Ok(Option::<OfSomeKind>::deserialize(deserializer)?.map(|OfSomeKind(found)| found))
}

struct OfSomeKind(Preprocess);

impl<'de> Deserialize<'de> for OfSomeKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Table).map(Self)
    }
}

struct Table;

impl<'de> Visitor<'de> for Table {
    type Value = Preprocess;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the preprocessing")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Preprocess, A::Error> {
        let mut entries = WithKind { map, kind: Kind::Unseen };
        let found = Preprocess::deserialize(MapAccessDeserializer::new(&mut entries));
        match entries.kind {
            Kind::Added => found.map_err(|error| {
                A::Error::custom(format!(
                    "preprocess has no \"kind\" and is not that of images, which files of earlier \
                     builds have without one ({error}): make the file anew with this build"
                ))
            }),
            Kind::Unseen | Kind::Found => found,
        }
    }
}

/// The entries of an object, and after the last of them its kind where it has none.
struct WithKind<A> {
    map: A,
    kind: Kind,
}

enum Kind {
    Unseen,
    Found,
    Added,
}

const KIND: &str = "kind";

impl<'de, A: MapAccess<'de>> MapAccess<'de> for WithKind<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let key = match (&self.kind, self.map.next_key::<String>()?) {
            (_, Some(key)) => key,
            (Kind::Unseen, None) => {
                self.kind = Kind::Added;
                return seed.deserialize(KIND.into_deserializer()).map(Some);
            }
            (Kind::Found | Kind::Added, None) => return Ok(None),
        };
        if key == KIND {
            self.kind = Kind::Found;
        }
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        match self.kind {
            Kind::Added => seed.deserialize("image".into_deserializer()),
            Kind::Unseen | Kind::Found => self.map.next_value_seed(seed),
        }
    }
}
