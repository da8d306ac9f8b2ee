//! Languages of native code, by file extension.

use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Rust,
    C,
    /// Language that the audit cannot parse.
    Unread(&'static str),
    /// Header of such a language; only the files that include it are findings.
    UnreadHeader(&'static str),
}

impl Language {
    /// Returns `None` if a file contains no native code.
    pub fn of(file: &Path) -> Option<Language> {
        Some(match file.extension()?.to_str()? {
            "rs" => Language::Rust,
            "c" | "h" => Language::C,
            "cc" | "cpp" | "cxx" | "c++" | "C" => Language::Unread("C++"),
            "hh" | "hpp" | "hxx" | "ipp" => Language::UnreadHeader("C++"),
            "cu" => Language::Unread("CUDA"),
            "cuh" => Language::UnreadHeader("CUDA"),
            "mm" => Language::Unread("Objective-C++"),
            "pyx" => Language::Unread("Cython"),
            "pxd" | "pxi" => Language::UnreadHeader("Cython"),
            "go" => Language::Unread("Go"),
            "f" | "for" | "f90" | "f95" => Language::Unread("Fortran"),
            "zig" => Language::Unread("Zig"),
            "s" | "S" | "asm" => Language::Unread("assembler"),
            _ => return None,
        })
    }
}
