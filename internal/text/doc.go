// Package text makes text that others wrote safe for where it goes. Names, reasons, user agents
// and the contents of files come from certificates and requests, and what shows them may obey
// them: a terminal its escape sequences (ECMA-48) and the controls that turn the order of what is
// read (Unicode Standard Annex #9), a spreadsheet its formulas, a log its line ends. Where the
// format has escapes, the text stays what it was; elsewhere a character that cannot be seen
// becomes U+FFFD.
package text
