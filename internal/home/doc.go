// Package home keeps the files of a home: how they are written, their modes and their locks.
//
// A small file is written in one of three ways. Each syncs the file before it returns.
//
//   - [Replace] puts a new version under a name that may be taken.
//   - [Create] puts a file under a name that must be free. The file appears whole.
//   - [WriteNew] writes a file in its place. It serves file systems without links, and directories
//     without readers yet.
//
// Replace and Create write a temporary file in the same directory, sync it, give it its name and
// sync the directory. A crash between two steps leaves the old file, or the new one, and perhaps
// the temporary file. It never leaves half a file.
//
// New files have mode 0600. An error names the file that it is about, and never holds what is in
// the file. After an error the temporary file is removed.
//
// The package knows no file by its name. It reads no clock and no environment, and it prints
// nothing.
package home
