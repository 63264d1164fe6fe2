//! Arguments of a job: options in front, then words. Behind `--` all are words.

use anyhow::{Result, bail};

/// The arguments that are not read yet.
pub(super) struct Arguments {
    usage: &'static str,
    options: Vec<(String, Option<String>)>,
    words: std::vec::IntoIter<String>,
}

impl Arguments {
    /// Takes arguments apart. An option in `flags` has no value; any other takes the next argument.
    ///
    /// # Errors
    /// The usage: an option lacks its value.
    pub(super) fn of(args: &[String], flags: &[&str], usage: &'static str) -> Result<Arguments> {
        let mut args = args.iter();
        let (mut options, mut words) = (Vec::new(), Vec::new());
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--" => words.extend(args.by_ref().cloned()),
                option if flags.contains(&option) => options.push((option.to_owned(), None)),
                option if option.starts_with("--") => match args.next() {
                    Some(value) => options.push((option.to_owned(), Some(value.clone()))),
                    None => bail!(usage),
                },
                word => words.push(word.to_owned()),
            }
        }
        Ok(Arguments { usage, options, words: words.into_iter() })
    }

    /// Takes the value of an option, if it is there.
    pub(super) fn option(&mut self, name: &str) -> Option<String> {
        let at = self.options.iter().position(|(option, _)| option == name)?;
        self.options.remove(at).1
    }

    /// Takes an option without a value. Returns whether it was there.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        let at = self.options.iter().position(|(option, _)| option == name);
        at.map(|at| self.options.remove(at)).is_some()
    }

    /// Takes the next word.
    ///
    /// # Errors
    /// The usage: there is none.
    pub(super) fn word(&mut self) -> Result<String> {
        self.words.next().ok_or_else(|| anyhow::anyhow!(self.usage))
    }

    /// Takes the next word, if there is one.
    pub(super) fn optional(&mut self) -> Option<String> {
        self.words.next()
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// The usage.
    pub(super) fn end(mut self) -> Result<()> {
        if self.words.next().is_some() || !self.options.is_empty() {
            bail!(self.usage);
        }
        Ok(())
    }
}
