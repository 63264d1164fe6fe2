//! A profile as collapsed stacks, the format of flame graph tools.

use crate::observe::profile::StackCounts;

/// Writes the stacks with their counts, a line each, the most frequent first.
pub fn collapsed(stacks: &StackCounts) -> String {
    let mut stacks: Vec<(&String, &u64)> = stacks.iter().collect();
    stacks.sort_by(|(one, count), (other, more)| more.cmp(count).then_with(|| one.cmp(other)));
    stacks.iter().fold(String::new(), |text, (stack, count)| text + &format!("{stack} {count}\n"))
}
