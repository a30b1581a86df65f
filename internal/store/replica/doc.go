// Package replica is the store of one node of a cluster: what everybody has
// agreed upon is elsewhere (the source), and the node reads its own copy of it.
//
// A commit goes to the source, and returns when the copy has it. Everything
// else is answered from the copy, a file beside the home's other files, which
// follows the source's watch. So reads cost what they cost on one machine, and
// go on when the source is away; a node that starts then reads what it had.
//
// # How fresh is it?
//
// Every second the node asks the source for its revision, to which a majority
// has to agree, and when the copy has come as far, it was current at the time of
// the question: Word tells when that was last. Who may be served from a copy of
// some age is decided above.
//
// When the source does not answer, commits are refused at once with
// store.ErrAway; one that was under way may have happened
// (store.ErrUncertain). The watch continues where it stopped. When the source
// has forgotten what came after that, the copy is compared with it, key by key,
// and whoever watches is told with store.ErrCompacted.
//
// A source that turns out to be another one, or to have an older revision than
// the copy, has lost something that was promised: the copy is neither thrown
// away nor brought in line with it. That is for a person to decide.
package replica
