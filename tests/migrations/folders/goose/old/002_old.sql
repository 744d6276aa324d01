SELECT 'folders below are passed over';
