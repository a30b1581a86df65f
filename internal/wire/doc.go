// Package wire has the JSON shapes of the API, once, for the server, the console and the client.
//
// A shape is a struct with a JSON name for every field, in the order in which it is written. Times
// are RFC 3339. An optional field has omitempty or omitzero, or is a pointer. There is no
// behaviour here and nothing of ours is imported: a client can use the shapes without the server.
package wire
