// Package api is the door: HTTP on one side, one call on ca, usr or object on
// the other.
//
// The table of routes (routes.go) is the whole of it. A row says the method and
// the path, who may (a rule, without which [New] refuses the table), what the
// body and the answers are, and which handler makes one from the other. The
// router and the OpenAPI document are made from the same rows. Every request
// takes the same walk:
//
//	outside   request id, headers, recovery, metrics (also around 404 and 405)
//	identify  who calls                          → 401
//	address   the path in the URL is an object's → 400
//	rule      may they                           → 403
//	body      its type and its size              → 415, 413
//	handler   one call, finer rules of usr
//	answer    or a problem (RFC 9457), from one function
//	audit     one line for what was denied, changed, or given away
//
// The package never stores, signs or decides by itself: what may be done is
// usr's to say, what is done is ca's and object's. It reads no clock but
// Config.Now, and never puts a value of a key into a log line or a problem.
//
// Conventions: handlers return errors and name no status code of an error;
// problem.go is the only place that does. The text of an error that nobody
// foresaw stays in the log, under the request id that the answer shows.
package api
