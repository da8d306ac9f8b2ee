//! The languages of native code, by the extension of a file.

use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Rust,
    C,
    /// One that the audit cannot read.
    Unread(&'static str),
    /// A header of such a language: what includes it is named, it is not.
    UnreadHeader(&'static str),
}

impl Language {
    /// `None` if a file has no native code.
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
