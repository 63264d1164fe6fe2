//! A profile as pprof reads it: the protocol buffer `perftools.profiles.Profile` of `profile.proto`, uncompressed.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a value is, and its unit: `cpu`, `nanoseconds`.
pub type ValueType = (&'static str, &'static str);

/// What a profile says besides its samples.
#[derive(Clone, Copy, Debug)]
pub struct PprofHead<'a> {
    /// The values of each sample.
    pub types: &'a [ValueType],
    /// How much of what lies between two samples.
    pub period: (ValueType, u64),
    /// When the profile began.
    pub began: SystemTime,
    /// How long it took.
    pub time: Duration,
}

/// Writes a profile. `samples` are stacks with as many values as the head has types.
pub fn pprof<'s>(head: &PprofHead<'_>, samples: impl Iterator<Item = (&'s str, Vec<u64>)>) -> Vec<u8> {
    let PprofHead { types, period: ((kind, unit), period), began, time } = *head;
    let mut names = ProfileTables::default();
    let mut profile = Message::default();
    for (kind, unit) in types {
        profile.message(1, &names.value_type(kind, unit));
    }
    for (stack, values) in samples {
        let mut sample = Message::default();
        // The innermost function comes first.
        let locations: Vec<u64> = stack.rsplit(';').map(|name| names.function(name)).collect();
        sample.packed(1, &locations);
        sample.packed(2, &values);
        profile.message(2, &sample);
    }
    // Every function has one location, with its own number.
    for (number, name) in (1..).zip(&names.functions) {
        let (mut location, mut line, mut function) = <(Message, Message, Message)>::default();
        line.number(1, number);
        location.number(1, number);
        location.message(4, &line);
        profile.message(4, &location);
        function.number(1, number);
        function.number(2, *name);
        function.number(3, *name);
        profile.message(5, &function);
    }
    let period_type = names.value_type(kind, unit);
    names.texts.iter().for_each(|text| profile.bytes(6, text.as_bytes()));
    profile.number(9, nanos(began.duration_since(UNIX_EPOCH).unwrap_or_default()));
    profile.number(10, nanos(time));
    profile.message(11, &period_type);
    profile.number(12, period);
    profile.0
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The table of texts, which begins with the empty one, and the functions.
struct ProfileTables {
    texts: Vec<String>,
    numbers: HashMap<String, u64>,
    /// The texts that are names of functions.
    functions: Vec<u64>,
    function_numbers: HashMap<u64, u64>,
}

impl Default for ProfileTables {
    fn default() -> ProfileTables {
        let (numbers, functions, function_numbers) = Default::default();
        ProfileTables { texts: vec![String::new()], numbers, functions, function_numbers }
    }
}

impl ProfileTables {
    fn text(&mut self, text: &str) -> u64 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len() as u64;
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }

    fn function(&mut self, name: &str) -> u64 {
        let text = self.text(name);
        let functions = &mut self.functions;
        *self.function_numbers.entry(text).or_insert_with(|| {
            functions.push(text);
            functions.len() as u64
        })
    }

    fn value_type(&mut self, kind: &str, unit: &str) -> Message {
        let mut message = Message::default();
        message.number(1, self.text(kind));
        message.number(2, self.text(unit));
        message
    }
}

/// A message of protocol buffers, as it is written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    fn number(&mut self, field: u64, number: u64) {
        self.varint(field << 3);
        self.varint(number);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        /// The wire type of a field with a length.
        const LENGTH: u64 = 2;
        self.varint((field << 3) | LENGTH);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u64, message: &Message) {
        self.bytes(field, &message.0);
    }

    fn packed(&mut self, field: u64, numbers: &[u64]) {
        let mut packed = Message::default();
        numbers.iter().for_each(|number| packed.varint(*number));
        self.message(field, &packed);
    }
}
