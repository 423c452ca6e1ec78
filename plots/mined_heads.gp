# Redraw with `gnuplot mined_heads.gp` in the folder that holds this, both styles and the data.
load 'mined_style.gp'
data = 'mined_heads.tsv'
height = 500
stats data using (note('window')) nooutput
stats data using 'head' name 'HEAD' nooutput
stats data using 'layer' name 'LAYER' nooutput
H = HEAD_max + 1
at(l, h) = l * (H + 0.6) + h
parts = 'window sink milestone recurring phoenix local unused censored rest'
shades = '#f0e68c '.key_colours.' #ffffff'
names = '"within the window" sink milestone recurring phoenix local unused censored "not listed"'
shown = 8; rest = 0
stats data using (is('rest') ? column('high') - column('low') : 0) name 'REST' nooutput
if (REST_max > 0.001) { shown = 9 }
do for [t in 'svg png'] {
    eval open(t, 'mined_heads')
    eval panel(1, 1)
    set bmargin at screen 118.0 / height
    set xrange [-0.8 : at(LAYER_max, H - 1) + 0.8]
    set yrange [-0.09 : 1.001]
    set ytics 0.2
    set xtics scale 0 ()
    do for [l = 0:int(LAYER_max)] { if (LAYER_max < 20 || l % 4 == 0) { set xtics add (sprintf('%d', l) at(l, (H - 1) / 2.0)) } }
    set xlabel 'layer, its heads from left to right; below them their class, as high as sequences agree on it'
    set ylabel 'share of the attention of a head' offset 0, 1
    set style fill solid noborder
    plot for [k = 1:shown] data using (is(word(parts, k)) ? at(column('layer'), column('head')) : NaN):'low': \
            (at(column('layer'), column('head')) - 0.44):(at(column('layer'), column('head')) + 0.44):'low':'high' \
            with boxxyerror lc rgb word(shades, k), \
        for [i = 1:4] data using (of('window', i) ? at(column('layer'), column('head')) : NaN):(-0.08): \
            (at(column('layer'), column('head')) - 0.44):(at(column('layer'), column('head')) + 0.44):(-0.08):(-0.08 + 0.06 * column('agree')) \
            with boxxyerror lc rgb head_colour(i)
    parts_legend = "for [k = 1:shown] NaN with boxes lc rgb word(shades, k) title word(names, k), "
    classes_legend = "for [i = 1:4] NaN with boxes lc rgb head_colour(i) title (heads_of[i] ? sprintf('%s head (%d)', word(head_classes, i), heads_of[i]) : '')"
    eval strip(66, 2)
    eval legend(parts_legend.classes_legend)
    eval close
}
