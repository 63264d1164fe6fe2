//! Makes an environment of variables whose names are distinct, without a search for each of them.

use std::collections::HashSet;

use super::env::{Env, Variable};

/// The environment of a request, under construction.
///
/// The caller guarantees that each name is valid and added once; debug builds check the latter. Values are checked all at
/// once, in [`finish`](EnvBuilder::finish).
pub struct EnvBuilder {
    text: String,
    variables: Vec<Variable>,
}

impl EnvBuilder {
    /// Starts an environment with room for `variables`, whose names and values have `bytes` in all.
    pub fn with_capacity(variables: usize, bytes: usize) -> EnvBuilder {
        EnvBuilder { text: String::with_capacity(bytes), variables: Vec::with_capacity(variables) }
    }

    /// Adds a variable.
    // Inlined, because most names are constants: copying one is then a few stores and no call.
    #[inline(always)]
    pub fn add(&mut self, name: &str, value: &str) {
        self.add_joined(name, [value]);
    }

    /// Adds a variable whose value consists of these parts.
    #[inline(always)]
    pub fn add_joined<const PARTS: usize>(&mut self, name: &str, parts: [&str; PARTS]) {
        let start = self.text.len();
        self.text.push_str(name);
        let equals = self.text.len();
        self.text.push('=');
        for part in parts {
            self.text.push_str(part);
        }
        let end = self.text.len();
        self.text.push('\0');
        self.variables.push(Variable { start, equals, end });
    }

    /// Returns the environment. Leaves out the variables whose value contains NUL: no process could have them.
    pub fn finish(self) -> Env {
        let EnvBuilder { text, mut variables } = self;
        // Each variable ends with a NUL. If there are more, they are in values.
        if memchr::memchr_iter(0, text.as_bytes()).count() != variables.len() {
            variables.retain(|variable| !text[variable.equals..variable.end].contains('\0'));
        }
        let env = Env::written(text, variables);
        debug_assert!(are_distinct(&env), "a name stands twice");
        env
    }
}

/// Reports whether no name stands twice. Counts them in a set: to search for each takes too long if there are thousands.
fn are_distinct(env: &Env) -> bool {
    env.iter().map(|(name, _)| name).collect::<HashSet<_>>().len() == env.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "a name stands twice")]
    fn a_name_that_is_added_twice_is_noticed_in_a_debug_build() {
        let mut builder = EnvBuilder::with_capacity(0, 0);
        builder.add("A", "1");
        builder.add("A", "2");

        drop(builder.finish());
    }

    #[test]
    fn values_with_nul_are_left_out_and_the_others_stay() {
        let mut builder = EnvBuilder::with_capacity(0, 0);
        builder.add("A", "1");
        builder.add("B", "x\0y");
        builder.add("C", "\0");
        builder.add_joined("D", ["http://", "é", "", "/"]);
        builder.add_joined("E", ["", "\0"]);
        builder.add("F", "");

        let mut env = builder.finish();

        assert_eq!(env.iter().collect::<Vec<_>>(), [("A", "1"), ("D", "http://é/"), ("F", "")]);
        assert_eq!(env.entries().collect::<Vec<_>>(), [&b"A=1\0"[..], "D=http://é/\0".as_bytes(), b"F=\0"]);
        env.set("B", "later").unwrap();
        env.set("A", "2").unwrap();
        assert_eq!(
            env.iter().collect::<Vec<_>>(),
            [("A", "2"), ("D", "http://é/"), ("F", ""), ("B", "later")]
        );
    }

    #[test]
    fn it_is_the_same_as_if_each_variable_were_set() {
        for count in [0, 1, 40] {
            let (mut builder, mut env) = (EnvBuilder::with_capacity(4, 32), Env::new());
            for number in 0..count {
                let (name, value) = (format!("NAME_{number}"), "v".repeat(number));
                builder.add(&name, &value);
                env.set(name, value).unwrap();
            }

            assert_eq!(builder.finish(), env);
        }
    }
}
