//! Rooms and participants through the server's RoomService.
