//! Whole-system tests live beside this file, one folder a subject; the library itself is empty.
