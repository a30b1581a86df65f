// Package console is the other door: pages for people, over the API.
//
// Every page is made of answers of the API, asked for in process with what its
// visitor proved a name by: the same routes, the same rules, the same audit
// trail. The package decides nothing. What a visitor may do is asked with
// /api/auth/can-i, so that what is refused is not offered; what is asked for
// anyway is refused by the API, and the page says by which rule.
//
// Pages work without JavaScript; htmx refreshes lists while one types, and a few
// lines add the local time to times in UTC. Script and style come from this
// server as files, so that the Content-Security-Policy can forbid any other.
// Pages are sent as they are: what is compressed together with a secret can be
// guessed from its length. The files, which hold none, are compressed.
//
// The package never stores or signs, and keeps nothing between two requests.
// It reads no clock but Config.Now.
package console
