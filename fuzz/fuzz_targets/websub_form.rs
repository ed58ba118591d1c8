//! The parameters of a request to a hub: whatever a form and a query say is read or refused by name, and a parameter
//! that is written by itself is read as it was written. The first line of the input is the query, the rest the form.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_websub::Fields;

fuzz_target!(|input: &str| {
    let (query, form) = input.split_once('\n').unwrap_or((input, ""));
    let read = Fields::read(query, form);
    let joined = Fields::read("", &format!("{query}&{form}"));
    match (read, joined) {
        (Ok(read), Ok(joined)) => assert_eq!(read, joined),
        (Err(refused), Err(joined)) => {
            assert_eq!((refused.status.as_u16(), &refused.message), (400, &joined.message));
        }
        (read, joined) => panic!("{read:?} and {joined:?}"),
    }
});
