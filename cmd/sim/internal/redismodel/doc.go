// Package redismodel is a small Redis that can fail: the commands and scripts that the gateway uses, with real Lua, on
// connections of package network.
//
// It answers as redis-server 7.0 does, which a differential test checks. Commands of one connection that arrive
// together are carried out in one go, one connection after the other, as Redis's single thread does; each connection
// has one output queue, so replies and messages of one connection are never reordered.
//
// # Faults
//
//	Freeze, Thaw        nothing is carried out and nothing is sent; the network goes on taking data in
//	Late                everything takes longer
//	LateMessages        what is sent to subscribers arrives later
//	LateReplies         so do replies to commands on data
//	Refuse              OOM, LOADING or READONLY, for the commands that the real one refuses
//	Stop, Start         the process ends, and comes back with a dataset: the same, an older one, or none
//	Snapshot            a copy of the dataset
//	FlushAll            the dataset is emptied while everybody stays connected
//	KillClients         connections are closed by the server
//	DropSubscriptions   subscriptions are forgotten, and the connection stays open
//	LimitOutput         a subscriber that does not read is disconnected (client-output-buffer-limit)
//	LoseReply           a script is carried out, and its connection breaks instead of answering
//
// # What it is not
//
// Keys are strings, lists and hashes. Expiry happens when a key is looked at. Patterns know * and ? only. There are no
// databases, users, replicas or slots.
package redismodel
