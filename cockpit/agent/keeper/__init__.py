"""The keeper: one small process per host that starts, holds and restarts every service.

Started as a directory, `python -I -S .../cockpit/agent/keeper DIR [--boot-id ID]`. Standard library
only, and little of it, because it must stay small: no asyncio, threads, logging or subprocess.
docs/protocols.md describes what it says on its socket; the modules, from the bottom up:

    wire      JSON lines and their limits          policy    when to start again (pure)
    spec      what a unit may look like            proc      identity of processes, /proc, pidfds
    launch    fork, exec, and why it failed        cores     find and keep core files
    notify    sd_notify                            journal   what is on disk
    unit      one unit: what is known of it        run       its processes while they live
    server    the socket                           guardian  keeps the agent alive
    store     the directory                        adopt     what an earlier keeper left
    lives     how units start, end and restart     operations  what the socket offers
    handover  the keeper replaced in place by another version
    service   the process itself, and its loop
"""
