// Package remote keeps what a person has said about servers elsewhere: contexts, which are servers under a name with how to know them
// and how to call them, and the tokens that a login brought.
//
// Both live in one directory, the person's own. The file contexts.yaml holds names and paths and never a secret; the tokens of a
// context are in token-NAME.json beside it, in the words of the API's own answer, so that
//
//	curl … -X POST 'https://node1:1215/api/auth/token?refresh=true' > token-NAME.json
//
// logs in as well. Files are 0600, written whole and atomically, under a lock of their directory: two commands that renew one token at
// once renew it once. What others could have written or read is refused.
//
// The package reads no environment and no clock, asks nobody, and prints nothing. It makes no request: [Session] is given the function
// that renews a token.
package remote
