//! What a package needs, and whether it is ready for free-threaded Python: the commands `add`, `lock`, `check` and
//! `survey`.
//!
//! Each module is one command with its `Options`, the arguments on the command line, and `run`, which carries it out.
//! `lock::resolve` is also used without a command: it resolves the requirements of one package for one ABI.

pub mod add;
pub mod check;
pub mod lock;
pub mod survey;
mod uv;
