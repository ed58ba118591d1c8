//! Whether a routing key matches a binding key, as a topic exchange says it: to tell which of several binding keys a
//! message came by, and to leave out what an older binding still brings.

/// Words are separated by `.`; `*` is one word, `#` any number of them.
pub(crate) fn matches(binding: &str, key: &str) -> bool {
    if binding == key || binding == "#" {
        return true;
    }
    if !binding.contains(['*', '#']) {
        return false;
    }
    // A key without a byte has no word, not an empty one.
    let words: Vec<&str> = if key.is_empty() { Vec::new() } else { key.split('.').collect() };
    let pattern: Vec<&str> = binding.split('.').collect();
    let (mut at, mut word) = (0, 0);
    // Where the last `#` stands, and how far it reaches: the only choice that is ever taken back.
    let mut wide: Option<(usize, usize)> = None;
    while word < words.len() {
        match pattern.get(at) {
            Some(&"#") => {
                wide = Some((at, word));
                at += 1;
            }
            Some(&part) if part == "*" || part == words[word] => (at, word) = (at + 1, word + 1),
            _ => match &mut wide {
                Some((hash, reach)) => {
                    *reach += 1;
                    (at, word) = (*hash + 1, *reach);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|part| *part == "#")
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn wildcards_stand_for_words() {
        for (binding, key) in [
            ("a.b", "a.b"),
            ("a.*", "a.b"),
            ("#", "a.b.c"),
            ("#", ""),
            ("a.#", "a"),
            ("a.#", "a.b.c"),
            ("#.c", "a.b.c"),
            ("a.#.c", "a.c"),
            ("*.#", "a"),
            ("#.b.#", "a.b.c.d"),
            ("*.*", "a."),
        ] {
            assert!(matches(binding, key), "{binding} matches {key}");
        }
        for (binding, key) in [
            ("a.b", "a.c"),
            ("a.*", "a"),
            ("a.*", "a.b.c"),
            ("*", ""),
            ("a.#.c", "a.b"),
            ("#.b", "b.c"),
            ("a*", "ab"),
        ] {
            assert!(!matches(binding, key), "{binding} does not match {key}");
        }
    }

    #[test]
    fn many_wildcards_take_no_more_than_a_moment() {
        let binding = "#.a.".repeat(60) + "b";
        let key = "a.".repeat(120) + "c";
        assert!(!matches(&binding, &key));
    }
}
