//! The variables of a request, from the environment of this process or from a test.

use std::cell::OnceCell;
use std::env;

/// Variables that do not change while a request is answered.
pub(crate) enum Vars {
    /// The environment of this process. Each variable is read when it is asked for.
    Process(Known),
    /// The variables of a test.
    Given(Vec<(String, String)>),
}

/// The variables that were read so far.
///
/// A list that grows only at its end, so a value can be borrowed while others are added. Copying
/// the whole environment at once would take longer than the rest of most handlers.
#[derive(Default)]
pub(crate) struct Known(OnceCell<Box<Variable>>);

struct Variable {
    name: String,
    value: Option<String>,
    next: Known,
}

impl Vars {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        match self {
            Vars::Process(known) => known.get(name),
            Vars::Given(vars) => {
                vars.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
            }
        }
    }

    /// Copies all variables.
    pub(crate) fn all(&self) -> Vec<(String, String)> {
        match self {
            Vars::Process(_) => env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            Vars::Given(vars) => vars.clone(),
        }
    }
}

impl Known {
    fn get(&self, name: &str) -> Option<&str> {
        let mut known = self;
        loop {
            let variable = known.0.get_or_init(|| Variable::read(name));
            if variable.name == name {
                return variable.value.as_deref();
            }
            known = &variable.next;
        }
    }
}

impl Variable {
    fn read(name: &str) -> Box<Variable> {
        Box::new(Variable { name: name.to_owned(), value: env::var(name).ok(), next: Known::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_read_from_the_process() {
        let vars = Vars::Process(Known::default());

        let (path, again) = (vars.get("PATH"), vars.get("PATH"));

        assert_eq!(path.map(str::to_owned), env::var("PATH").ok());
        assert_eq!(path, again);
        assert_eq!(vars.get("PORTCULLIS_NO_SUCH_VARIABLE"), None);
        assert_eq!((vars.get(""), vars.get("A=B"), vars.get("A\0")), (None, None, None));
    }
}
