//! The examples are the programs in `src/bin`, and the receivers in `node` and `python`.
