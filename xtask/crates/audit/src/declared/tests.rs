//! Hints from files made here: real ones are read in `cargo xtask ci`.

use super::hint;
use wheelfile::minimal_extension;

#[test]
fn a_module_without_a_slot_is_not_taken_for_one_that_declares() {
    let file = minimal_extension("m", "x86_64", None).unwrap();
    let hint = hint(&file).unwrap();
    assert!(hint.is_some_and(|hint| !hint.contains("with a slot")), "{hint:?}");
}

#[test]
fn what_is_no_elf_file_is_an_error() {
    assert!(hint(b"not an ELF file").is_err());
}
